// Command grpcgo is grpc-go, generated code and pgx.
package main

import (
	"context"
	"errors"
	"log"
	"net"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	statusv1 "bench/peers/gen/gomemory/status/v1"
)

const query = `select status, error, created_at from memory_job
	where req_id = $1 and created_at > now() - interval '24 hours'`

type server struct {
	statusv1.UnimplementedStatusServiceServer
	pool *pgxpool.Pool
}

func (s *server) GetStatus(ctx context.Context, request *statusv1.GetStatusRequest) (*statusv1.GetStatusResponse, error) {
	id, err := uuid.Parse(request.GetReqId())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "req_id is not a UUID")
	}
	var state string
	var createdAt time.Time
	var response statusv1.GetStatusResponse
	err = s.pool.QueryRow(ctx, query, id).Scan(&state, &response.Error, &createdAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, status.Error(codes.NotFound, "no such request")
	}
	if err != nil {
		log.Print(err)
		return nil, status.Error(codes.Unavailable, "the database could not be asked")
	}
	response.Status = statusv1.GetStatusResponse_Status(statusv1.GetStatusResponse_Status_value[state])
	response.CreatedAt = timestamppb.New(createdAt)
	return &response, nil
}

func main() {
	config, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	config.MaxConns = 10
	// pgx prepares each statement once a connection, by default (QueryExecModeCacheStatement).
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		log.Fatal(err)
	}
	s := grpc.NewServer()
	statusv1.RegisterStatusServiceServer(s, &server{pool: pool})
	log.Fatal(s.Serve(listener))
}
