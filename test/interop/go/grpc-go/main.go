// Command grpc-go makes the calls on standard input by grpc-go, over one connection.
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

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

	err = wire.Serve(func(ctx context.Context, call wire.Call) wire.Answer {
		if call.RequestID != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "x-request-id", call.RequestID)
		}
		var trailer metadata.MD
		response, err := client.GetStatus(ctx, &statusv1.GetStatusRequest{ReqId: call.ReqID}, grpc.Trailer(&trailer))
		answer := wire.Answer{RequestID: strings.Join(trailer.Get("x-request-id"), ",")}
		if err != nil {
			answer.Status = status.Convert(err).Proto()
		} else {
			answer.Response = response
		}
		return answer
	})
	if err != nil {
		log.Fatal(err)
	}
}
