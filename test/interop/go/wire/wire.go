// Package wire is the protocol of tests and client: lines with a JSON array of concurrent calls on standard input, and a
// line with a JSON value for each answer, and for each event of a stream, on standard output.
package wire

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"sync"
	"time"

	// The details that errors carry: protojson prints what is linked.
	_ "google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Call is a call to make, of GetStatus unless it names another method. With Cancel, it cancels the call of the same ID
// instead.
type Call struct {
	ID        int      `json:"id"`
	Method    string   `json:"method"`
	ReqID     string   `json:"reqId"`
	ReqIDs    []string `json:"reqIds"`
	WaitMs    *int     `json:"waitMs"`
	TimeoutMs int      `json:"timeoutMs"`
	RequestID string   `json:"requestId"`
	Cancel    bool     `json:"cancel"`
}

// Wait returns the field of the request, or nil.
func (call Call) Wait() *durationpb.Duration {
	if call.WaitMs == nil {
		return nil
	}
	return durationpb.New(time.Duration(*call.WaitMs) * time.Millisecond)
}

// Answer is either a response or a google.rpc.Status, the HTTP method if it is known, and the answer's x-request-id.
type Answer struct {
	Response  proto.Message
	Method    string
	Status    *status.Status
	RequestID string
}

// Client makes the calls of one library. WatchStatus reports each event, and returns the stream's end.
type Client struct {
	GetStatus      func(context.Context, Call) Answer
	BatchGetStatus func(context.Context, Call) Answer
	WatchStatus    func(ctx context.Context, call Call, report func(event proto.Message)) Answer
}

// Serve starts each call as it arrives, and returns when standard input has ended and every call has its answer.
func Serve(client Client) error {
	var running sync.WaitGroup
	var output sync.Mutex
	write := func(fields map[string]any) {
		line, err := json.Marshal(fields)
		if err != nil {
			panic(err)
		}
		output.Lock()
		defer output.Unlock()
		os.Stdout.Write(append(line, '\n'))
	}
	cancels := map[int]context.CancelFunc{}
	input := json.NewDecoder(os.Stdin)
	for {
		var calls []Call
		if err := input.Decode(&calls); err == io.EOF {
			running.Wait()
			return nil
		} else if err != nil {
			return err
		}
		for _, call := range calls {
			if call.Cancel {
				cancels[call.ID]()
				continue
			}
			ctx, cancel := context.WithCancel(context.Background())
			if call.TimeoutMs > 0 {
				ctx, cancel = context.WithTimeout(ctx, time.Duration(call.TimeoutMs)*time.Millisecond)
			}
			cancels[call.ID] = cancel
			running.Go(func() {
				defer cancel()
				write(encode(call.ID, client.make(ctx, call, func(event proto.Message) {
					write(map[string]any{"id": call.ID, "event": toJSON(event)})
				})))
			})
		}
	}
}

func (client Client) make(ctx context.Context, call Call, report func(proto.Message)) Answer {
	switch call.Method {
	case "WatchStatus":
		return client.WatchStatus(ctx, call, report)
	case "BatchGetStatus":
		return client.BatchGetStatus(ctx, call)
	default:
		return client.GetStatus(ctx, call)
	}
}

func encode(id int, answer Answer) map[string]any {
	fields := map[string]any{"id": id}
	if answer.RequestID != "" {
		fields["requestId"] = answer.RequestID
	}
	if answer.Method != "" {
		fields["method"] = answer.Method
	}
	if answer.Status != nil {
		fields["status"] = toJSON(answer.Status)
	} else {
		fields["response"] = toJSON(answer.Response)
	}
	return fields
}

func toJSON(message proto.Message) json.RawMessage {
	text, err := protojson.Marshal(message)
	if err != nil {
		panic(err)
	}
	return text
}
