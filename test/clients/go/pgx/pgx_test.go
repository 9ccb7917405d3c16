// Package pgx tests pgx through the postgres door.
package pgx

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"meridian/test/clients/go/node"
)

func connect(t *testing.T, more string) *pgx.Conn {
	t.Helper()
	text := "host=127.0.0.1 dbname=shop user=checkout sslmode=disable port=" + node.PostgresPort() + " password=" +
		node.Token("checkout") + " " + more
	connection, err := pgx.Connect(context.Background(), text)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close(context.Background()) })
	return connection
}

func TestConnect(t *testing.T) {
	var who string
	if err := connect(t, "").QueryRow(context.Background(), "SELECT current_user::text").Scan(&who); err != nil {
		t.Fatal(err)
	}
	if who != "checkout" {
		t.Fatalf("connected as %s", who)
	}
}
