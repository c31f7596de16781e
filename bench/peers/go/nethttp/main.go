// Command nethttp is net/http and pgx.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	malformed = "Bad Request"
	failed    = "We are experiencing some techincal issues right now. Please try again after some time!"
	query     = `select status, error, created_at from memory_job
		where req_id = $1 and created_at > now() - interval '24 hours'`
)

type status struct {
	Status    string  `json:"status"`
	CreatedAt string  `json:"createdAt"`
	Error     *string `json:"error,omitempty"`
}

type failure struct {
	Error string
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

	http.HandleFunc("GET /get_status/{reqid}", func(w http.ResponseWriter, r *http.Request) {
		id, err := uuid.Parse(r.PathValue("reqid"))
		if err != nil {
			answer(w, http.StatusBadRequest, failure{malformed})
			return
		}
		var found status
		var createdAt time.Time
		err = pool.QueryRow(r.Context(), query, id).Scan(&found.Status, &found.Error, &createdAt)
		if err != nil {
			if !errors.Is(err, pgx.ErrNoRows) {
				log.Print(err)
			}
			answer(w, http.StatusInternalServerError, failure{failed})
			return
		}
		found.CreatedAt = createdAt.UTC().Format(time.RFC3339)
		answer(w, http.StatusOK, found)
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		log.Print(err)
	}
}
