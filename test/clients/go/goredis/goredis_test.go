// Package goredis tests go-redis through the redis door, in RESP2 and RESP3; rows are written with pgx.
package goredis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/auth"

	"meridian/test/clients/go/node"
)

var background = context.Background()

// options of a client that sends each command once, so that what is refused is refused the first time.
func options(protocol int, subject string) *redis.Options {
	return &redis.Options{
		Addr:       "127.0.0.1:" + node.RedisPort(),
		Protocol:   protocol,
		Username:   "default",
		Password:   node.Token(subject),
		MaxRetries: -1,
		// Redis may keep a blocking command for longer than go-redis would wait by default.
		ReadTimeout: 60 * time.Second,
	}
}

func open(t *testing.T, options *redis.Options) *redis.Client {
	t.Helper()
	client := redis.NewClient(options)
	t.Cleanup(func() { client.Close() })
	return client
}

func connect(t *testing.T, protocol int, subject string) *redis.Client {
	t.Helper()
	return open(t, options(protocol, subject))
}

func inBothProtocols(t *testing.T, test func(t *testing.T, protocol int)) {
	for _, protocol := range []int{2, 3} {
		t.Run("RESP"+strconv.Itoa(protocol), func(t *testing.T) { test(t, protocol) })
	}
}

func must[Value any](t *testing.T, value Value, err error) Value {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func equal(t *testing.T, found, wanted any) {
	t.Helper()
	if !reflect.DeepEqual(found, wanted) {
		t.Fatalf("%#v instead of %#v", found, wanted)
	}
}

func refused(t *testing.T, err error, pattern string) {
	t.Helper()
	if err == nil || !regexp.MustCompile(pattern).MatchString(err.Error()) {
		t.Fatalf("%v instead of an error like %q", err, pattern)
	}
}

func TestViews(t *testing.T) {
	inBothProtocols(t, func(t *testing.T, protocol int) {
		client := connect(t, protocol, "storefront")
		row := must(t, client.HGetAll(background, "order:8").Val(), nil)
		equal(t, []string{row["id"], row["status"]}, []string{"8", "open"})
		equal(t, must(t, client.HMGet(background, "order:8", "id", "nothing").Val(), nil), []any{"8", nil})
		many, err := client.MGet(background, "order:8", "order:99999", "product:sku-1").Result()
		must(t, many, err)
		equal(t, []bool{many[0] == nil, many[1] == nil, many[2] == nil}, []bool{false, true, false})
		equal(t, client.Exists(background, "order:8", "order:99999").Val(), int64(1))
		equal(t, client.Type(background, "order:8").Val(), "string")
		equal(t, client.TTL(background, "order:8").Val(), time.Duration(-1))
		if err := client.Get(background, "order:99999").Err(); !errors.Is(err, redis.Nil) {
			t.Fatalf("%v instead of nothing", err)
		}
		var order struct{ ID int }
		if err := json.Unmarshal([]byte(client.Get(background, "order:8").Val()), &order); err != nil || order.ID != 8 {
			t.Fatalf("%v, %v", order, err)
		}
	})
}

func TestARowIsReadAsItWasJustWritten(t *testing.T) {
	inBothProtocols(t, func(t *testing.T, protocol int) {
		text := "host=127.0.0.1 dbname=shop user=checkout sslmode=disable port=" + node.PostgresPort() +
			" password=" + node.Token("checkout")
		sql, err := pgx.Connect(background, text)
		must(t, sql, err)
		defer sql.Close(background)
		client := connect(t, protocol, "storefront")
		for revision := 1; revision <= 50; revision++ {
			if _, err := sql.Exec(background, "UPDATE orders SET revision = $1 WHERE id = 31", revision); err != nil {
				t.Fatal(err)
			}
			equal(t, client.HGet(background, "order:31", "revision").Val(), strconv.Itoa(revision))
			many := client.MGet(background, "order:1", "order:31").Val()
			if !strings.Contains(many[1].(string), fmt.Sprintf(`"revision":%d`, revision)) {
				t.Fatalf("%v after revision %d was written", many[1], revision)
			}
		}
	})
}

func TestPipelinesMixViewsAndKeys(t *testing.T) {
	inBothProtocols(t, func(t *testing.T, protocol int) {
		client := connect(t, protocol, "checkout")
		said, err := client.Pipelined(background, func(pipeline redis.Pipeliner) error {
			for n := range 500 {
				key := fmt.Sprintf("p:%d", n)
				pipeline.Set(background, key, n, 0)
				pipeline.Get(background, key)
				pipeline.HGet(background, "order:1", "id")
			}
			return nil
		})
		must(t, said, err)
		for n := range 500 {
			equal(t, said[3*n+1].(*redis.StringCmd).Val(), strconv.Itoa(n))
			equal(t, said[3*n+2].(*redis.StringCmd).Val(), "1")
		}
	})
}

func TestTransactionsAndWatch(t *testing.T) {
	inBothProtocols(t, func(t *testing.T, protocol int) {
		client := connect(t, protocol, "checkout")
		client.Set(background, "n", 1, 0)
		var n *redis.StringCmd
		_, err := client.TxPipelined(background, func(pipeline redis.Pipeliner) error {
			pipeline.Incr(background, "n")
			n = pipeline.Get(background, "n")
			return nil
		})
		must(t, n, err)
		equal(t, n.Val(), "2")
		err = client.Watch(background, func(tx *redis.Tx) error {
			connect(t, protocol, "checkout").Set(background, "n", 10, 0)
			_, err := tx.TxPipelined(background, func(pipeline redis.Pipeliner) error {
				return pipeline.Incr(background, "n").Err()
			})
			return err
		}, "n")
		if !errors.Is(err, redis.TxFailedErr) {
			t.Fatalf("%v instead of a failed transaction", err)
		}
		equal(t, client.Get(background, "n").Val(), "10")
	})
}

func TestABlockingCommandHoldsUpNobody(t *testing.T) {
	inBothProtocols(t, func(t *testing.T, protocol int) {
		client := connect(t, protocol, "checkout")
		client.Del(background, "queue")
		popped := make(chan []string, 1)
		go func() { popped <- client.BLPop(background, 30*time.Second, "queue").Val() }()
		for range 100 {
			must(t, "", client.Set(background, "k", "v", 0).Err())
		}
		client.RPush(background, "queue", "job")
		equal(t, <-popped, []string{"queue", "job"})
		if err := client.BLPop(background, time.Second, "queue").Err(); !errors.Is(err, redis.Nil) {
			t.Fatalf("%v instead of nothing", err)
		}
		// Who gives up waiting leaves nobody behind who takes what comes.
		given, cancel := context.WithTimeout(background, 200*time.Millisecond)
		defer cancel()
		impatient := options(protocol, "checkout")
		impatient.ContextTimeoutEnabled = true
		if err := open(t, impatient).BLPop(given, 0, "queue").Err(); err == nil {
			t.Fatal("nothing was in the queue")
		}
		time.Sleep(500 * time.Millisecond)
		client.RPush(background, "queue", "kept")
		equal(t, client.LRange(background, "queue", 0, -1).Val(), []string{"kept"})
	})
}

func TestPublishAndSubscribe(t *testing.T) {
	inBothProtocols(t, func(t *testing.T, protocol int) {
		client := connect(t, protocol, "checkout")
		subscription := client.Subscribe(background, "news")
		defer subscription.Close()
		must(t, "", subscription.PSubscribe(background, "ne*"))
		for range 2 {
			message, err := subscription.Receive(background)
			must(t, message, err)
		}
		equal(t, client.Publish(background, "news", "hello").Val(), int64(2))
		for range 2 {
			message, err := subscription.ReceiveMessage(background)
			must(t, message, err)
			equal(t, message.Payload, "hello")
		}
		must(t, "", subscription.Ping(background, "there"))
	})
}

func TestScripts(t *testing.T) {
	inBothProtocols(t, func(t *testing.T, protocol int) {
		client := connect(t, protocol, "checkout")
		client.Set(background, "scripted", 5, 0)
		script := redis.NewScript(fmt.Sprintf("return redis.call('get', KEYS[1]) .. ' of RESP%d'", protocol))
		for range 2 { // Sent as it is where Redis does not know it yet, by its hash afterwards.
			said, err := script.Run(background, client, []string{"scripted"}).Text()
			equal(t, must(t, said, err), fmt.Sprintf("5 of RESP%d", protocol))
		}
		storefront := connect(t, protocol, "storefront")
		refused(t, script.Run(background, storefront, []string{"session:1"}).Err(), "^NOPERM role storefront may not run")
		refused(t, script.Eval(background, storefront, nil).Err(), "^NOPERM role storefront may not run")
		refused(t, script.Load(background, storefront).Err(), "^NOPERM role storefront may not run")
	})
}

func TestScan(t *testing.T) {
	inBothProtocols(t, func(t *testing.T, protocol int) {
		client := connect(t, protocol, "checkout")
		for n := range 300 {
			must(t, "", client.Set(background, fmt.Sprintf("scanned:%d", n), "v", 0).Err())
		}
		found := map[string]bool{}
		for all := client.Scan(background, 0, "scanned:*", 50).Iterator(); all.Next(background); {
			found[all.Val()] = true
		}
		equal(t, len(found), 300)
		refused(t, connect(t, protocol, "storefront").Scan(background, 0, "*", 10).Err(), "^NOPERM")
	})
}

func TestStreamsAndTheirGroups(t *testing.T) {
	inBothProtocols(t, func(t *testing.T, protocol int) {
		client := connect(t, protocol, "checkout")
		client.Del(background, "stream")
		must(t, "", client.XGroupCreateMkStream(background, "stream", "workers", "0").Err())
		type answer struct {
			streams []redis.XStream
			err     error
		}
		heard := make(chan answer, 1)
		go func() {
			streams, err := client.XReadGroup(background, &redis.XReadGroupArgs{
				Group: "workers", Consumer: "first", Streams: []string{"stream", ">"}, Block: 30 * time.Second,
			}).Result()
			heard <- answer{streams, err}
		}()
		id, err := client.XAdd(background, &redis.XAddArgs{Stream: "stream", Values: []string{"sku", "sku-1"}}).Result()
		must(t, id, err)
		got := <-heard
		must(t, got, got.err)
		equal(t, got.streams[0].Messages[0].ID, id)
		equal(t, got.streams[0].Messages[0].Values, map[string]any{"sku": "sku-1"})
		equal(t, client.XPending(background, "stream", "workers").Val().Count, int64(1))
		equal(t, client.XAck(background, "stream", "workers", id).Val(), int64(1))
		equal(t, len(client.XRange(background, "stream", "-", "+").Val()), 1)
	})
}

func TestWhoIsRefusedSomethingGoesOn(t *testing.T) {
	inBothProtocols(t, func(t *testing.T, protocol int) {
		client := connect(t, protocol, "storefront").Conn()
		defer client.Close()
		id := must(t, client.ClientID(background).Val(), nil)
		for _, denied := range []error{
			client.Set(background, "other", "v", 0).Err(), client.Get(background, "other").Err(),
			client.FlushAll(background).Err(), client.Del(background, "order:1").Err(),
			client.Keys(background, "*").Err(), client.ConfigGet(background, "*").Err(),
		} {
			refused(t, denied, "^NOPERM role storefront may not")
		}
		client.Set(background, "session:1", "a", 0)
		said, err := client.Pipelined(background, func(pipeline redis.Pipeliner) error {
			pipeline.Get(background, "session:1")
			pipeline.Get(background, "other")
			pipeline.Get(background, "session:1")
			return nil
		})
		refused(t, err, "^NOPERM")
		equal(t, []string{said[0].(*redis.StringCmd).Val(), said[2].(*redis.StringCmd).Val()}, []string{"a", "a"})
		_, err = client.TxPipelined(background, func(pipeline redis.Pipeliner) error {
			pipeline.Set(background, "session:1", "b", 0)
			pipeline.Set(background, "other", "v", 0)
			return nil
		})
		refused(t, err, "EXECABORT|NOPERM")
		equal(t, client.Get(background, "session:1").Val(), "a")
		equal(t, client.ClientID(background).Val(), id)
		refused(t, connect(t, protocol, "checkout").Set(background, "order:1", "v", 0).Err(), "view of table")
	})
}

func TestTheUserNameSaysWhichRole(t *testing.T) {
	inBothProtocols(t, func(t *testing.T, protocol int) {
		for _, role := range []string{"checkout", "storefront"} {
			wanted := options(protocol, "clerk")
			wanted.Username = role
			err := open(t, wanted).Set(background, "other", "v", 0).Err()
			if role == "checkout" {
				must(t, "", err)
			} else {
				refused(t, err, "^NOPERM role storefront may not")
			}
		}
	})
}

// No call fails: the pool sees that its connection has ended, and makes another with a fresh token.
func TestAFreshTokenComesWithTheNextConnection(t *testing.T) {
	inBothProtocols(t, func(t *testing.T, protocol int) {
		t.Parallel()
		var given atomic.Int32
		fresh := options(protocol, "storefront")
		fresh.Username, fresh.Password, fresh.PoolSize = "", "", 1
		fresh.CredentialsProviderContext = func(context.Context) (string, string, error) {
			life := "10m"
			if given.Add(1) == 1 {
				life = "3s"
			}
			return "default", node.FreshToken(t, "storefront", life), nil
		}
		client := open(t, fresh)
		first, err := client.ClientID(background).Result()
		must(t, first, err)
		for until := time.Now().Add(30 * time.Second); client.ClientID(background).Val() == first; {
			id, err := client.HGet(background, "order:8", "id").Result()
			equal(t, must(t, id, err), "8")
			if time.Now().After(until) {
				t.Fatal("the connection has outlived its token")
			}
			time.Sleep(20 * time.Millisecond)
		}
		equal(t, given.Load(), int32(2))
	})
}

// credentials that a streaming provider gives.
type credentials struct{ token string }

func (c credentials) BasicAuth() (string, string) { return "default", c.token }
func (c credentials) RawCredentials() string      { return c.token }

type tokens struct {
	mutex     sync.Mutex
	current   credentials
	listeners []auth.CredentialsListener
}

func (t *tokens) Subscribe(listener auth.CredentialsListener) (auth.Credentials, auth.UnsubscribeFunc, error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.listeners = append(t.listeners, listener)
	return t.current, func() error { return nil }, nil
}

func (t *tokens) renew(token string) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.current = credentials{token}
	for _, listener := range t.listeners {
		listener.OnNext(t.current)
	}
}

func TestAFreshTokenBeforeTheOldOneEndsLeavesTheConnection(t *testing.T) {
	inBothProtocols(t, func(t *testing.T, protocol int) {
		t.Parallel()
		source := &tokens{current: credentials{node.FreshToken(t, "storefront", "4s")}}
		streaming := options(protocol, "storefront")
		streaming.Username, streaming.Password, streaming.PoolSize = "", "", 1
		streaming.StreamingCredentialsProvider = source
		client := open(t, streaming)
		first, err := client.ClientID(background).Result()
		must(t, first, err)
		source.renew(node.FreshToken(t, "storefront", "10m"))
		for until := time.Now().Add(6 * time.Second); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
			id, err := client.HGet(background, "order:8", "id").Result()
			equal(t, must(t, id, err), "8")
		}
		equal(t, client.ClientID(background).Val(), first)
	})
}

func TestManyAtOnce(t *testing.T) {
	inBothProtocols(t, func(t *testing.T, protocol int) {
		client := connect(t, protocol, "checkout")
		var all sync.WaitGroup
		for worker := range 32 {
			all.Add(1)
			go func() {
				defer all.Done()
				for n := range 100 {
					key, value := fmt.Sprintf("w:%d", worker), strconv.Itoa(n)
					id := strconv.Itoa(1 + (worker+n)%50)
					if err := client.Set(background, key, value, 0).Err(); err != nil {
						t.Error(err)
					} else if found := client.Get(background, key).Val(); found != value {
						t.Errorf("%s is %s instead of %s", key, found, value)
					} else if found := client.HGet(background, "order:"+id, "id").Val(); found != id {
						t.Errorf("order %s is %s", id, found)
					}
				}
			}()
		}
		all.Wait()
	})
}

func TestLargeValues(t *testing.T) {
	inBothProtocols(t, func(t *testing.T, protocol int) {
		client := connect(t, protocol, "checkout")
		value := strings.Repeat("v", 20_000_000)
		must(t, "", client.Set(background, "large", value, 0).Err())
		if client.Get(background, "large").Val() != value {
			t.Fatal("another value came back")
		}
	})
}

func TestBadTokens(t *testing.T) {
	inBothProtocols(t, func(t *testing.T, protocol int) {
		node.BadTokens(t, func(t *testing.T, token string, rule *regexp.Regexp) {
			bad := options(protocol, "checkout")
			bad.Password = token
			refused(t, open(t, bad).Ping(background).Err(), rule.String())
		})
		nobody := options(protocol, "checkout")
		nobody.Username, nobody.Password = "", ""
		refused(t, open(t, nobody).Get(background, "order:1").Err(), "^NOAUTH")
	})
}

func TestTLS(t *testing.T) {
	inBothProtocols(t, func(t *testing.T, protocol int) {
		authority, err := os.ReadFile(node.Authority())
		must(t, authority, err)
		known := x509.NewCertPool()
		if !known.AppendCertsFromPEM(authority) {
			t.Fatal("the authority's certificate cannot be read")
		}
		secure := options(protocol, "storefront")
		secure.TLSConfig = &tls.Config{RootCAs: known, ServerName: "localhost"}
		equal(t, must(t, open(t, secure).HGet(background, "order:1", "id").Val(), nil), "1")
		secure.TLSConfig = &tls.Config{ServerName: "localhost"}
		refused(t, open(t, secure).Ping(background).Err(), "unknown authority")
	})
}
