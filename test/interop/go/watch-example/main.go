// Command watch-example follows requests as docs/use/waiting.md says: watch-example host:port id…
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"

	pb "interop/gen/gomemory/status/v1"
)

func main() {
	connection, err := grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	waiting := map[string]bool{}
	for _, id := range os.Args[2:] {
		waiting[id] = true
	}
	report := func(event *pb.WatchStatusResponse) { fmt.Println(protojson.MarshalOptions{}.Format(event)) }
	if err := watchStatuses(context.Background(), pb.NewStatusServiceClient(connection), waiting, report); err != nil {
		log.Fatal(err)
	}
}
