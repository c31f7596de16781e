// Command connect-go makes the calls on standard input by connect-go.
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	statusv1 "interop/gen/gomemory/status/v1"
	"interop/gen/gomemory/status/v1/statusv1connect"
	"interop/wire"
)

func main() {
	target := flag.String("target", "", "the service's host:port")
	protocol := flag.String("protocol", "connect", "connect, grpc or grpcweb")
	http2 := flag.Bool("http2", false, "HTTP/2 without TLS, instead of HTTP/1.1")
	asJSON := flag.Bool("json", false, "JSON, instead of the binary format")
	get := flag.Bool("get", false, "GET, where the method allows it")
	compress := flag.Bool("gzip", false, "compress requests")
	flag.Parse()

	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(!*http2)
	transport.Protocols.SetUnencryptedHTTP2(*http2)

	var options []connect.ClientOption
	switch *protocol {
	case "grpc":
		options = append(options, connect.WithGRPC())
	case "grpcweb":
		options = append(options, connect.WithGRPCWeb())
	}
	if *asJSON {
		options = append(options, connect.WithProtoJSON())
	}
	if *get {
		// Many ids make a longer URL than the service reads: the client then uses POST.
		options = append(options, connect.WithHTTPGet(), connect.WithHTTPGetMaxURLSize(8_192, true))
	}
	if *compress {
		options = append(options, connect.WithSendGzip())
	}
	client := statusv1connect.NewStatusServiceClient(&http.Client{Transport: transport}, "http://"+*target, options...)

	err := wire.Serve(wire.Client{
		GetStatus: func(ctx context.Context, call wire.Call) wire.Answer {
			request := connect.NewRequest(&statusv1.GetStatusRequest{ReqId: call.ReqID, Wait: call.Wait()})
			if call.RequestID != "" {
				request.Header().Set("X-Request-Id", call.RequestID)
			}
			response, err := client.GetStatus(ctx, request)
			if err != nil {
				return toAnswer(err)
			}
			return wire.Answer{Response: response.Msg, Method: request.HTTPMethod()}
		},
		BatchGetStatus: func(ctx context.Context, call wire.Call) wire.Answer {
			request := connect.NewRequest(&statusv1.BatchGetStatusRequest{ReqIds: call.ReqIDs})
			response, err := client.BatchGetStatus(ctx, request)
			if err != nil {
				return toAnswer(err)
			}
			return wire.Answer{Response: response.Msg}
		},
		WatchStatus: func(ctx context.Context, call wire.Call, report func(proto.Message)) wire.Answer {
			request := connect.NewRequest(&statusv1.WatchStatusRequest{ReqIds: call.ReqIDs})
			stream, err := client.WatchStatus(ctx, request)
			if err != nil {
				return toAnswer(err)
			}
			defer stream.Close()
			for stream.Receive() {
				report(stream.Msg())
			}
			if stream.Err() != nil {
				return toAnswer(stream.Err())
			}
			return wire.Answer{Status: &status.Status{}}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
}

func toAnswer(err error) wire.Answer {
	var failure *connect.Error
	if !errors.As(err, &failure) {
		log.Fatal(err)
	}
	converted := &status.Status{Code: int32(failure.Code()), Message: failure.Message()}
	for _, detail := range failure.Details() {
		converted.Details = append(converted.Details, &anypb.Any{
			TypeUrl: "type.googleapis.com/" + detail.Type(),
			Value:   detail.Bytes(),
		})
	}
	return wire.Answer{Status: converted, RequestID: failure.Meta().Get("X-Request-Id")}
}
