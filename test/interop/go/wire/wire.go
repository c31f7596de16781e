// Package wire is the protocol of tests and client: lines with a JSON array of concurrent calls on standard input, and a
// line with a JSON value for each answer on standard output.
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
)

// Call is a call to make. With Cancel, it cancels the call of the same ID instead.
type Call struct {
	ID        int    `json:"id"`
	ReqID     string `json:"reqId"`
	TimeoutMs int    `json:"timeoutMs"`
	RequestID string `json:"requestId"`
	Cancel    bool   `json:"cancel"`
}

// Answer is either a response or a google.rpc.Status, the HTTP method if it is known, and the answer's x-request-id.
type Answer struct {
	Response  proto.Message
	Method    string
	Status    *status.Status
	RequestID string
}

// Serve starts each call as it arrives, and returns when standard input has ended and every call has its answer.
func Serve(getStatus func(context.Context, Call) Answer) error {
	var running sync.WaitGroup
	var output sync.Mutex
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
				line := encode(call.ID, getStatus(ctx, call))
				output.Lock()
				defer output.Unlock()
				os.Stdout.Write(line)
			})
		}
	}
}

func encode(id int, answer Answer) []byte {
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
	line, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return append(line, '\n')
}

func toJSON(message proto.Message) json.RawMessage {
	text, err := protojson.Marshal(message)
	if err != nil {
		panic(err)
	}
	return text
}
