package main

import (
	"context"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "interop/gen/gomemory/status/v1"
)

// watchStatuses reports the states of requests until all are done. The ids are in lower case.
func watchStatuses(
	ctx context.Context, client pb.StatusServiceClient, waiting map[string]bool, report func(*pb.WatchStatusResponse),
) error {
	for len(waiting) > 0 {
		stream, err := client.WatchStatus(ctx, &pb.WatchStatusRequest{ReqIds: slices.Collect(maps.Keys(waiting))})
		for err == nil {
			var event *pb.WatchStatusResponse
			if event, err = stream.Recv(); err != nil || event.GetHeartbeat() != nil {
				continue
			}
			report(event)
			delete(waiting, event.GetGone().GetReqId())
			switch event.GetStatus().GetStatus().GetStatus() {
			case pb.GetStatusResponse_success, pb.GetStatusResponse_failure:
				delete(waiting, event.GetStatus().GetReqId())
			}
		}
		if code := status.Code(err); err == io.EOF {
			return nil
		} else if code != codes.Unavailable && code != codes.ResourceExhausted {
			return err
		}
		time.Sleep(time.Second + rand.N(2*time.Second))
	}
	return nil
}
