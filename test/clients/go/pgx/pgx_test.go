// Package pgx tests pgx through the postgres door, in every way that it can run a statement.
package pgx

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"

	"meridian/test/clients/go/node"
)

var ctx = context.Background()

var modes = []pgx.QueryExecMode{
	pgx.QueryExecModeCacheStatement,
	pgx.QueryExecModeCacheDescribe,
	pgx.QueryExecModeDescribeExec,
	pgx.QueryExecModeExec,
	pgx.QueryExecModeSimpleProtocol,
}

func config(t *testing.T, more string) *pgx.ConnConfig {
	t.Helper()
	read, err := pgx.ParseConfig(node.PostgresText("sslmode=disable " + more))
	if err != nil {
		t.Fatal(err)
	}
	return read
}

func connectWith(t *testing.T, config *pgx.ConnConfig) *pgx.Conn {
	t.Helper()
	connection, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := connection.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return connection
}

func connect(t *testing.T) *pgx.Conn {
	t.Helper()
	return connectWith(t, config(t, ""))
}

// eachMode runs a test on a connection of each mode.
func eachMode(t *testing.T, test func(t *testing.T, connection *pgx.Conn)) {
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			wanted := config(t, "")
			wanted.DefaultQueryExecMode = mode
			test(t, connectWith(t, wanted))
		})
	}
}

func run(t *testing.T, connection *pgx.Conn, sql string, values ...any) {
	t.Helper()
	if _, err := connection.Exec(ctx, sql, values...); err != nil {
		t.Fatalf("%.100s: %v", sql, err)
	}
}

func one[T comparable](t *testing.T, connection *pgx.Conn, wanted T, sql string, values ...any) {
	t.Helper()
	var found T
	if err := connection.QueryRow(ctx, sql, values...).Scan(&found); err != nil {
		t.Fatalf("%.100s: %v", sql, err)
	}
	if found != wanted {
		t.Fatalf("%.100s: %v instead of %v", sql, found, wanted)
	}
}

func stateOf(t *testing.T, err error) string {
	t.Helper()
	var told *pgconn.PgError
	if !errors.As(err, &told) {
		t.Fatalf("not an error of the server: %v", err)
	}
	return told.Code
}

func wantState(t *testing.T, err error, state string) {
	t.Helper()
	if found := stateOf(t, err); found != state {
		t.Fatalf("%s instead of %s: %v", found, state, err)
	}
}

func TestRowsAreMadeReadChangedAndRemoved(t *testing.T) {
	for number, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			wanted := config(t, "")
			wanted.DefaultQueryExecMode = mode
			connection := connectWith(t, wanted)
			id := 5000 + number
			one(t, connection, "checkout", "SELECT current_user::text")
			run(t, connection, "INSERT INTO orders (id, customer_id) VALUES ($1, $2)", id, 1)
			one(t, connection, "open", "SELECT status FROM orders WHERE id = $1", id)
			done, err := connection.Exec(ctx, "UPDATE orders SET status = $2 WHERE id = $1", id, "paid")
			if err != nil || done.RowsAffected() != 1 {
				t.Fatal(done, err)
			}
			one(t, connection, "paid", "DELETE FROM orders WHERE id = $1 RETURNING status", id)
			err = connection.QueryRow(ctx, "SELECT status FROM orders WHERE id = $1", id).Scan(new(string))
			if !errors.Is(err, pgx.ErrNoRows) {
				t.Fatal(err)
			}
		})
	}
}

func TestTransactionsAndSavepoints(t *testing.T) {
	eachMode(t, func(t *testing.T, connection *pgx.Conn) {
		run(t, connection, "CREATE TEMP TABLE steps (n int)")
		err := pgx.BeginFunc(ctx, connection, func(outer pgx.Tx) error {
			if _, err := outer.Exec(ctx, "INSERT INTO steps VALUES ($1)", 1); err != nil {
				return err
			}
			inner := pgx.BeginFunc(ctx, outer, func(inner pgx.Tx) error {
				if _, err := inner.Exec(ctx, "INSERT INTO steps VALUES ($1)", 2); err != nil {
					return err
				}
				_, err := inner.Exec(ctx, "SELECT 1 / 0")
				return err
			})
			wantState(t, inner, "22012")
			_, err := outer.Exec(ctx, "INSERT INTO steps VALUES ($1)", 3)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		one(t, connection, "1,3", "SELECT string_agg(n::text, ',' ORDER BY n) FROM steps")
		given := errors.New("the client changes its mind")
		err = pgx.BeginTxFunc(ctx, connection, pgx.TxOptions{IsoLevel: pgx.Serializable}, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "DELETE FROM steps"); err != nil {
				return err
			}
			return given
		})
		if !errors.Is(err, given) {
			t.Fatal(err)
		}
		one(t, connection, 2, "SELECT count(*) FROM steps")
	})
}

func TestErrorsInAndOutsideOfTransactions(t *testing.T) {
	eachMode(t, func(t *testing.T, connection *pgx.Conn) {
		for _, failure := range node.Failures(t) {
			_, err := connection.Exec(ctx, failure.SQL)
			wantState(t, err, failure.State)
			one(t, connection, 7, "SELECT $1::int", 7)
			tx, err := connection.Begin(ctx)
			if err != nil {
				t.Fatal(err)
			}
			_, err = tx.Exec(ctx, failure.SQL)
			wantState(t, err, failure.State)
			_, err = tx.Exec(ctx, "SELECT 1")
			wantState(t, err, "25P02")
			if err := tx.Rollback(ctx); err != nil {
				t.Fatal(err)
			}
			one(t, connection, 8, "SELECT $1::int", 8)
		}
		// Found while it runs, after rows were sent.
		rows, err := connection.Query(ctx, "SELECT 1 / (5000 - n) FROM generate_series(1, 6000) n")
		if err != nil {
			t.Fatal(err)
		}
		count := 0
		for rows.Next() {
			count++
		}
		wantState(t, rows.Err(), "22012")
		if count == 0 {
			t.Fatal("no row came before the error")
		}
		one(t, connection, 9, "SELECT $1::int", 9)
	})
}

func TestParametersAndLargeValues(t *testing.T) {
	large := node.Large()
	eachMode(t, func(t *testing.T, connection *pgx.Conn) {
		values := make([]any, node.ParametersMax)
		for n := range values {
			values[n] = n
		}
		one(t, connection, node.ParametersMax*(node.ParametersMax-1)/2,
			"SELECT sum(n) FROM (VALUES "+node.Placeholders(len(values), "(", "::int)")+") v (n)", values...)
		if _, err := connection.Exec(ctx, "SELECT "+node.Placeholders(70_000, "", "::int"), make([]any, 70_000)...); err == nil {
			t.Fatal("more parameters than the protocol can count were taken")
		}
		var back []byte
		if err := connection.QueryRow(ctx, "SELECT $1::bytea", large).Scan(&back); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(back, large) {
			t.Fatal("the value came back changed")
		}
		one(t, connection, 1, "SELECT 1")
	})
}

func TestAMessageAboveTheBoundIsRefusedByName(t *testing.T) {
	connection, err := pgx.ConnectConfig(ctx, config(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	_, err = connection.Exec(ctx, "SELECT $1::bytea", make([]byte, 300<<20))
	wantState(t, err, "54000")
	if !strings.Contains(err.Error(), "request_bytes_max") {
		t.Fatal(err)
	}
	_ = connection.Close(ctx)
	one(t, connect(t), 1, "SELECT 1")
}

func TestManyRowsAndRowsThatNobodyReads(t *testing.T) {
	eachMode(t, func(t *testing.T, connection *pgx.Conn) {
		rows, err := connection.Query(ctx, "SELECT n, 'row ' || n FROM generate_series(1, 300000) n")
		if err != nil {
			t.Fatal(err)
		}
		var sum, n int64
		var text string
		_, err = pgx.ForEachRow(rows, []any{&n, &text}, func() error { sum += n; return nil })
		if err != nil || sum != 300_000*300_001/2 {
			t.Fatal(sum, err)
		}
		rows, err = connection.Query(ctx, "SELECT generate_series(1, 100000)")
		if err != nil || !rows.Next() {
			t.Fatal(err)
		}
		rows.Close()
		one(t, connection, 1, "SELECT 1")
	})
}

func TestBatches(t *testing.T) {
	eachMode(t, func(t *testing.T, connection *pgx.Conn) {
		run(t, connection, "CREATE TEMP TABLE steps (n int)")
		const count = 30_000
		batch := &pgx.Batch{}
		for n := range count {
			batch.Queue("INSERT INTO steps VALUES ($1)", n)
		}
		batch.Queue("SELECT count(*) FROM steps")
		results := connection.SendBatch(ctx, batch)
		for range count {
			if _, err := results.Exec(); err != nil {
				t.Fatal(err)
			}
		}
		var found int
		if err := results.QueryRow().Scan(&found); err != nil || found != count {
			t.Fatal(found, err)
		}
		if err := results.Close(); err != nil {
			t.Fatal(err)
		}
		// A batch is one transaction: an early error undoes all, and the rest of it is skipped.
		batch = &pgx.Batch{}
		batch.Queue("INSERT INTO steps VALUES ($1)", -1)
		batch.Queue("SELECT 1 / $1::int", 0)
		for n := range count {
			batch.Queue("INSERT INTO steps VALUES ($1)", n)
		}
		wantState(t, connection.SendBatch(ctx, batch).Close(), "22012")
		one(t, connection, count, "SELECT count(*) FROM steps")
	})
}

func TestPipeline(t *testing.T) {
	connection := connect(t).PgConn()
	if _, err := connection.Prepare(ctx, "double", "SELECT $1::int * 2", nil); err != nil {
		t.Fatal(err)
	}
	const count = 40_000
	pipeline := connection.StartPipeline(ctx)
	for range count {
		pipeline.SendQueryPrepared("double", [][]byte{[]byte("21")}, nil, nil)
	}
	pipeline.SendQueryParams("SELECT 1 / 0", nil, nil, nil, nil)
	pipeline.SendQueryParams("SELECT 1", nil, nil, nil, nil)
	if err := pipeline.Sync(); err != nil {
		t.Fatal(err)
	}
	pipeline.SendQueryParams("SELECT 'after'", nil, nil, nil, nil)
	if err := pipeline.Sync(); err != nil {
		t.Fatal(err)
	}
	var values []string
	var failures []string
	for syncs := 0; syncs < 2; {
		results, err := pipeline.GetResults()
		if err != nil {
			failures = append(failures, stateOf(t, err))
			continue
		}
		switch found := results.(type) {
		case *pgconn.ResultReader:
			read := found.Read()
			if read.Err != nil {
				failures = append(failures, stateOf(t, read.Err))
				continue
			}
			values = append(values, string(read.Rows[0][0]))
		case *pgconn.PipelineSync:
			syncs++
		default:
			t.Fatalf("%T", results)
		}
	}
	if err := pipeline.Close(); err != nil {
		t.Fatal(err)
	}
	if len(values) != count+1 || values[0] != "42" || values[count] != "after" {
		t.Fatal(len(values))
	}
	if len(failures) != 1 || failures[0] != "22012" {
		t.Fatal(failures)
	}
}

func TestPreparedStatements(t *testing.T) {
	connection := connect(t)
	run(t, connection, "CREATE TEMP TABLE shape (a int)")
	run(t, connection, "INSERT INTO shape VALUES (1)")
	described, err := connection.Prepare(ctx, "by_id", "SELECT status FROM orders WHERE id = $1")
	if err != nil || len(described.ParamOIDs) != 1 || described.ParamOIDs[0] != 20 {
		t.Fatal(described, err)
	}
	for id := range 50 {
		one(t, connection, "open", "by_id", id+1)
	}
	if err := connection.Deallocate(ctx, "by_id"); err != nil {
		t.Fatal(err)
	}
	if _, err = connection.PgConn().ExecPrepared(ctx, "by_id", [][]byte{[]byte("1")}, nil, nil).Close(); err == nil {
		t.Fatal("the statement is still there")
	}
	wantState(t, err, "26000")
	// A statement that was prepared before its table changed.
	rows := func() error {
		found, err := connection.Query(ctx, "SELECT * FROM shape")
		if err != nil {
			return err
		}
		found.Close()
		return found.Err()
	}
	if err := rows(); err != nil {
		t.Fatal(err)
	}
	run(t, connection, "ALTER TABLE shape ADD b int")
	wantState(t, rows(), "0A000")
	if err := rows(); err != nil {
		t.Fatal(err)
	}
	// More statements than the cache holds: the oldest are closed.
	for n := range 1_000 {
		one(t, connection, n, fmt.Sprintf("SELECT %d", n))
	}
}

func TestARequestIdInTheTextCountsWheneverItIsBound(t *testing.T) {
	eachMode(t, func(t *testing.T, connection *pgx.Conn) {
		run(t, connection, "CREATE TEMP TABLE steps (n int)")
		for n := range 3 {
			one(t, connection, "0af76519-16cd-43dd-8448-eb211c80319c",
				"INSERT INTO steps VALUES ($1) RETURNING current_setting('meridian.request_id')"+
					" /*traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'*/", n)
			run(t, connection, "UPDATE steps SET n = n + $1", 1)
		}
	})
}

func TestCopyBothWays(t *testing.T) {
	connection := connect(t)
	run(t, connection, "CREATE TEMP TABLE copied (id int NOT NULL, name text)")
	const count = 100_000
	rows := pgx.CopyFromSlice(count, func(n int) ([]any, error) { return []any{n, "name\t" + fmt.Sprint(n)}, nil })
	made, err := connection.CopyFrom(ctx, pgx.Identifier{"copied"}, []string{"id", "name"}, rows)
	if err != nil || made != count {
		t.Fatal(made, err)
	}
	for _, format := range []string{"text", "csv", "binary"} {
		var text bytes.Buffer
		if _, err := connection.PgConn().CopyTo(ctx, &text, "COPY copied TO STDOUT (FORMAT "+format+")"); err != nil {
			t.Fatal(err)
		}
		run(t, connection, "TRUNCATE copied")
		done, err := connection.PgConn().CopyFrom(ctx, &text, "COPY copied FROM STDIN (FORMAT "+format+")")
		if err != nil || done.RowsAffected() != count {
			t.Fatal(done, err)
		}
	}
	// The server's error while the client still sends; then the client's.
	endless := strings.NewReader("no number\tx\n" + strings.Repeat("1\tx\n", 5_000_000))
	_, err = connection.PgConn().CopyFrom(ctx, endless, "COPY copied FROM STDIN")
	wantState(t, err, "22P02")
	given := errors.New("the client changes its mind")
	rows = pgx.CopyFromFunc(func() ([]any, error) { return nil, given })
	if _, err = connection.CopyFrom(ctx, pgx.Identifier{"copied"}, []string{"id", "name"}, rows); err == nil {
		t.Fatal("the copy was taken")
	}
	one(t, connection, count, "SELECT count(*) FROM copied")
}

func TestNotifications(t *testing.T) {
	listener, speaker := connect(t), connect(t)
	run(t, listener, "LISTEN news_of_pgx")
	for n := range 3 {
		run(t, speaker, "SELECT pg_notify('news_of_pgx', $1)", fmt.Sprint(n))
	}
	patience, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	for n := range 3 {
		heard, err := listener.WaitForNotification(patience)
		if err != nil || heard.Payload != fmt.Sprint(n) {
			t.Fatal(heard, err)
		}
	}
}

func TestCancel(t *testing.T) {
	wanted := config(t, "")
	wanted.BuildContextWatcherHandler = func(connection *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: connection, DeadlineDelay: time.Minute}
	}
	connection := connectWith(t, wanted)
	for range 3 {
		short, stop := context.WithTimeout(ctx, 500*time.Millisecond)
		_, err := connection.Exec(short, "SELECT pg_sleep(60)")
		stop()
		wantState(t, err, "57014")
		one(t, connection, 1, "SELECT 1")
	}
	// Without that handler, pgx gives the connection up.
	lost, err := pgx.ConnectConfig(ctx, config(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	short, stop := context.WithTimeout(ctx, 500*time.Millisecond)
	defer stop()
	if _, err = lost.Exec(short, "SELECT pg_sleep(60)"); !errors.Is(err, context.DeadlineExceeded) || !lost.IsClosed() {
		t.Fatal(err, lost.IsClosed())
	}
}

func TestPool(t *testing.T) {
	wanted, err := pgxpool.ParseConfig(node.PostgresText("sslmode=disable pool_max_conns=20"))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.NewWithConfig(ctx, wanted)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	found := make(chan error, 500)
	for n := range cap(found) {
		go func() {
			var back int
			err := pool.QueryRow(ctx, "SELECT $1::int", n).Scan(&back)
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

func TestTls(t *testing.T) {
	for _, way := range []string{"postgres", "direct"} {
		t.Run(way, func(t *testing.T) {
			text := strings.Replace(node.PostgresText(""), "host=127.0.0.1", "host=localhost", 1)
			wanted, err := pgx.ParseConfig(text + " sslmode=verify-full sslnegotiation=" + way +
				" sslrootcert=" + node.Authority())
			if err != nil {
				t.Fatal(err)
			}
			connection := connectWith(t, wanted)
			one(t, connection, "checkout", "SELECT current_user::text")
			socket, encrypted := connection.PgConn().Conn().(*tls.Conn)
			if !encrypted || len(socket.ConnectionState().VerifiedChains) == 0 {
				t.Fatalf("%T", connection.PgConn().Conn())
			}
		})
	}
}

func TestBadTokensAreRefusedWithTheRule(t *testing.T) {
	node.BadTokens(t, func(t *testing.T, token string, rule *regexp.Regexp) {
		wanted := config(t, "")
		wanted.Password = token
		_, err := pgx.ConnectConfig(ctx, wanted)
		if err == nil || !rule.MatchString(err.Error()) {
			t.Fatal(err)
		}
		wantState(t, err, "28000")
	})
}
