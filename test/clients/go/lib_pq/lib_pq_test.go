// Package lib_pq tests lib/pq, under database/sql, through the postgres door.
package lib_pq

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"

	"meridian/test/clients/go/node"
)

var ctx = context.Background()

func open(t *testing.T, more string) *sql.DB {
	t.Helper()
	database, err := sql.Open("postgres", node.PostgresText("sslmode=disable "+more))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := database.Close(); err != nil {
			t.Error(err)
		}
	})
	return database
}

// connect returns one session, as temporary tables need it.
func connect(t *testing.T) *sql.Conn {
	t.Helper()
	connection, err := open(t, "").Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	return connection
}

func run(t *testing.T, connection *sql.Conn, text string, values ...any) int64 {
	t.Helper()
	done, err := connection.ExecContext(ctx, text, values...)
	if err != nil {
		t.Fatalf("%.100s: %v", text, err)
	}
	count, err := done.RowsAffected()
	if err != nil {
		t.Fatal(err)
	}
	return count
}

type asker interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func one[T comparable](t *testing.T, on asker, wanted T, text string, values ...any) {
	t.Helper()
	var found T
	if err := on.QueryRowContext(ctx, text, values...).Scan(&found); err != nil {
		t.Fatalf("%.100s: %v", text, err)
	}
	if found != wanted {
		t.Fatalf("%.100s: %v instead of %v", text, found, wanted)
	}
}

func wantState(t *testing.T, err error, state string) {
	t.Helper()
	var told *pq.Error
	if !errors.As(err, &told) {
		t.Fatalf("not an error of the server: %v", err)
	}
	if string(told.Code) != state {
		t.Fatalf("%s instead of %s: %v", told.Code, state, err)
	}
}

func TestRowsAreMadeReadChangedAndRemoved(t *testing.T) {
	for _, more := range []string{"", "binary_parameters=yes"} {
		database := open(t, more)
		one(t, database, "checkout", "SELECT current_user::text")
		if _, err := database.Exec("INSERT INTO orders (id, customer_id) VALUES ($1, $2)", 5100, 1); err != nil {
			t.Fatal(err)
		}
		one(t, database, "open", "SELECT status FROM orders WHERE id = $1", 5100)
		done, err := database.Exec("UPDATE orders SET status = $2 WHERE id = $1", 5100, "paid")
		if err != nil {
			t.Fatal(err)
		}
		if count, err := done.RowsAffected(); err != nil || count != 1 {
			t.Fatal(count, err)
		}
		one(t, database, "paid", "DELETE FROM orders WHERE id = $1 RETURNING status", 5100)
	}
}

func TestTransactions(t *testing.T) {
	connection := connect(t)
	run(t, connection, "CREATE TEMP TABLE steps (n int)")
	tx, err := connection.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable})
	if err != nil {
		t.Fatal(err)
	}
	one(t, tx, "serializable", "SELECT current_setting('transaction_isolation')")
	for _, text := range []string{"INSERT INTO steps VALUES (1)", "SAVEPOINT s", "INSERT INTO steps VALUES (2)"} {
		if _, err := tx.Exec(text); err != nil {
			t.Fatal(err)
		}
	}
	_, err = tx.Exec("SELECT 1 / $1::int", 0)
	wantState(t, err, "22012")
	if _, err := tx.Exec("ROLLBACK TO s"); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec("INSERT INTO steps VALUES ($1)", 3); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	one(t, connection, "1,3", "SELECT string_agg(n::text, ',' ORDER BY n) FROM steps")
	tx, err = connection.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = tx.Exec("UPDATE orders SET status = 'paid' WHERE id = $1", 1)
	wantState(t, err, "25006")
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	one(t, connection, 2, "SELECT count(*) FROM steps")
}

func TestErrorsInAndOutsideOfTransactions(t *testing.T) {
	connection := connect(t)
	for _, failure := range node.Failures(t) {
		_, err := connection.ExecContext(ctx, failure.SQL)
		wantState(t, err, failure.State)
		one(t, connection, 7, "SELECT $1::int", 7)
		tx, err := connection.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = tx.Exec(failure.SQL)
		wantState(t, err, failure.State)
		_, err = tx.Exec("SELECT $1::int", 1)
		wantState(t, err, "25P02")
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		one(t, connection, 8, "SELECT $1::int", 8)
	}
}

func TestParametersAndLargeValues(t *testing.T) {
	database := open(t, "")
	values := make([]any, node.ParametersMax)
	for n := range values {
		values[n] = n
	}
	one(t, database, node.ParametersMax*(node.ParametersMax-1)/2,
		"SELECT sum(n) FROM (VALUES "+node.Placeholders(len(values), "(", "::int)")+") v (n)", values...)
	large := node.Large()
	for _, more := range []string{"", "binary_parameters=yes"} {
		var back []byte
		if err := open(t, more).QueryRow("SELECT $1::bytea", large).Scan(&back); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(back, large) {
			t.Fatal("the value came back changed")
		}
	}
	text := strings.Repeat("ü", node.LargeSize/2)
	one(t, database, text, "SELECT $1::text", text)
}

func TestManyRowsAndPreparedStatements(t *testing.T) {
	connection := connect(t)
	rows, err := connection.QueryContext(ctx, "SELECT n FROM generate_series(1, 300000) n WHERE n <> $1", 0)
	if err != nil {
		t.Fatal(err)
	}
	var sum, n int64
	for rows.Next() {
		if err := rows.Scan(&n); err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	if rows.Err() != nil || sum != 300_000*300_001/2 {
		t.Fatal(sum, rows.Err())
	}
	rows, err = connection.QueryContext(ctx, "SELECT 1; SELECT 2")
	if err != nil {
		t.Fatal(err)
	}
	for result := 1; result <= 2; result++ {
		for rows.Next() {
			if err := rows.Scan(&n); err != nil || n != int64(result) {
				t.Fatal(n, err)
			}
		}
		if rows.NextResultSet() != (result == 1) {
			t.Fatal(result)
		}
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	prepared, err := connection.PrepareContext(ctx, "SELECT $1::int * 2")
	if err != nil {
		t.Fatal(err)
	}
	for n := range 1_000 {
		var found int
		if err := prepared.QueryRow(n).Scan(&found); err != nil || found != 2*n {
			t.Fatal(found, err)
		}
	}
	if err := prepared.Close(); err != nil {
		t.Fatal(err)
	}
	one(t, connection, 0, "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%* 2'")
}

func TestCopyIn(t *testing.T) {
	connection := connect(t)
	run(t, connection, "CREATE TEMP TABLE copied (id int, name text)")
	copied := func(fail bool) error {
		tx, err := connection.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		into, err := tx.Prepare(pq.CopyIn("copied", "id", "name"))
		if err != nil {
			return err
		}
		for n := range 100_000 {
			var id any = n
			if fail && n == 50_000 {
				id = "no number"
			}
			if _, err := into.Exec(id, fmt.Sprintf("name\t%d", n)); err != nil {
				return errors.Join(err, into.Close())
			}
		}
		if _, err := into.Exec(); err != nil {
			return errors.Join(err, into.Close())
		}
		if err := into.Close(); err != nil {
			return err
		}
		return tx.Commit()
	}
	if err := copied(false); err != nil {
		t.Fatal(err)
	}
	wantState(t, copied(true), "22P02")
	one(t, connection, 100_000, "SELECT count(*) FROM copied WHERE name = E'name\\t' || id")
}

func TestNotifications(t *testing.T) {
	events := make(chan error, 10)
	listener := pq.NewListener(node.PostgresText("sslmode=disable"), time.Second, time.Minute,
		func(_ pq.ListenerEventType, err error) { events <- err })
	defer listener.Close()
	if err := listener.Listen("news_of_pq"); err != nil {
		t.Fatal(err)
	}
	if err := <-events; err != nil {
		t.Fatal(err)
	}
	speaker := connect(t)
	for n := range 3 {
		run(t, speaker, "SELECT pg_notify('news_of_pq', $1)", fmt.Sprint(n))
	}
	for n := range 3 {
		select {
		case heard := <-listener.Notify:
			if heard == nil || heard.Extra != fmt.Sprint(n) {
				t.Fatal(heard)
			}
		case <-time.After(time.Minute):
			t.Fatal("nothing was heard")
		}
	}
	if err := listener.Ping(); err != nil {
		t.Fatal(err)
	}
}

func TestCancel(t *testing.T) {
	// lib/pq cancels, and gives the connection up all the same; database/sql takes another.
	database := open(t, "")
	for range 3 {
		short, stop := context.WithTimeout(ctx, 500*time.Millisecond)
		_, err := database.ExecContext(short, "SELECT pg_sleep($1) /* cancelled by pq */", 60)
		stop()
		wantState(t, err, "57014")
		one(t, database, 0, "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE $1",
			"SELECT pg_sleep($1) /* cancelled by pq%")
	}
}

func TestPoolAndTls(t *testing.T) {
	text := strings.Replace(node.PostgresText(""), "host=127.0.0.1", "host=localhost", 1)
	database, err := sql.Open("postgres", text+" sslmode=verify-full sslrootcert="+node.Authority())
	if err != nil {
		t.Fatal(err)
	}
	defer database.Close()
	database.SetMaxOpenConns(20)
	found := make(chan error, 300)
	for n := range cap(found) {
		go func() {
			var back int
			err := database.QueryRow("SELECT $1::int", n).Scan(&back)
			if err == nil && back != n {
				err = fmt.Errorf("%d instead of %d", back, n)
			}
			found <- err
		}()
	}
	for range cap(found) {
		if err := <-found; err != nil {
			t.Fatal(err)
		}
	}
}

func TestBadTokensAreRefusedWithTheRule(t *testing.T) {
	node.BadTokens(t, func(t *testing.T, token string, rule *regexp.Regexp) {
		text := strings.Replace(node.PostgresText("sslmode=disable"), node.Token("checkout"), token, 1)
		database, err := sql.Open("postgres", text)
		if err != nil {
			t.Fatal(err)
		}
		defer database.Close()
		err = database.Ping()
		if err == nil || !rule.MatchString(err.Error()) {
			t.Fatal(err)
		}
		wantState(t, err, "28000")
	})
}
