// Command grpc-go makes the calls on standard input by grpc-go, over one connection.
package main

import (
	"context"
	"flag"
	"io"
	"log"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	statusv1 "interop/gen/gomemory/status/v1"
	"interop/wire"
)

func main() {
	target := flag.String("target", "", "the service's host:port")
	compress := flag.Bool("gzip", false, "compress requests")
	ping := flag.Duration("ping", time.Hour, "the idle time of the connection before a keepalive ping")
	configPath := flag.String("service-config", "", "a file with a service config")
	flag.Parse()

	calls := []grpc.CallOption{grpc.WaitForReady(true)}
	if *compress {
		calls = append(calls, grpc.UseCompressor(gzip.Name))
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(calls...),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: *ping, PermitWithoutStream: true}),
	}
	if *configPath != "" {
		config, err := os.ReadFile(*configPath)
		if err != nil {
			log.Fatal(err)
		}
		options = append(options, grpc.WithDefaultServiceConfig(string(config)))
	}
	connection, err := grpc.NewClient(*target, options...)
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	client := statusv1.NewStatusServiceClient(connection)

	err = wire.Serve(wire.Client{
		GetStatus: func(ctx context.Context, call wire.Call) wire.Answer {
			ctx = withRequestID(ctx, call)
			request := &statusv1.GetStatusRequest{ReqId: call.ReqID, Wait: call.Wait()}
			var trailer metadata.MD
			response, err := client.GetStatus(ctx, request, grpc.Trailer(&trailer))
			if err != nil {
				return failure(err, trailer)
			}
			return wire.Answer{Response: response}
		},
		BatchGetStatus: func(ctx context.Context, call wire.Call) wire.Answer {
			var trailer metadata.MD
			response, err := client.BatchGetStatus(
				ctx, &statusv1.BatchGetStatusRequest{ReqIds: call.ReqIDs}, grpc.Trailer(&trailer))
			if err != nil {
				return failure(err, trailer)
			}
			return wire.Answer{Response: response}
		},
		WatchStatus: func(ctx context.Context, call wire.Call, report func(proto.Message)) wire.Answer {
			ctx = withRequestID(ctx, call)
			stream, err := client.WatchStatus(ctx, &statusv1.WatchStatusRequest{ReqIds: call.ReqIDs})
			if err != nil {
				return failure(err, nil)
			}
			for {
				event, err := stream.Recv()
				if err == io.EOF {
					return wire.Answer{Status: status.New(codes.OK, "").Proto()}
				} else if err != nil {
					return failure(err, stream.Trailer())
				}
				report(event)
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
}

func withRequestID(ctx context.Context, call wire.Call) context.Context {
	if call.RequestID == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "x-request-id", call.RequestID)
}

func failure(err error, trailer metadata.MD) wire.Answer {
	return wire.Answer{
		Status:    status.Convert(err).Proto(),
		RequestID: strings.Join(trailer.Get("x-request-id"), ","),
	}
}
