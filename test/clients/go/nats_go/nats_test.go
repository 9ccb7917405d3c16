// nats.go through the nats door: messages, queue groups, requests, headers, denials, JetStream, key-value, TLS.
package nats_go

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"meridian/test/clients/go/node"
)

const patience = 20 * time.Second

func address() string { return "nats://127.0.0.1:" + node.Env("NODE_NATS_PORT") }

func open(t *testing.T, subject string, more ...nats.Option) *nats.Conn {
	t.Helper()
	options := append([]nats.Option{nats.Token(node.Token(subject)), nats.NoReconnect(), nats.Timeout(patience)}, more...)
	connection, err := nats.Connect(address(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(connection.Close)
	return connection
}

func next(t *testing.T, subscription *nats.Subscription) *nats.Msg {
	t.Helper()
	message, err := subscription.NextMsg(patience)
	if err != nil {
		t.Fatal(err)
	}
	return message
}

func need(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMessagesCarryHeadersAndWhoPublishedThem(t *testing.T) {
	connection := open(t, "checkout")
	subscription, err := connection.SubscribeSync("orders.go.*")
	need(t, err)
	sent := nats.NewMsg("orders.go.a")
	sent.Data = []byte("one")
	sent.Header.Set("Other", "kept")
	sent.Header["meridian-identity"] = []string{"iss=evil"}
	need(t, connection.PublishMsg(sent))
	need(t, connection.Publish("orders.go.b", []byte("two")))
	one, two := next(t, subscription), next(t, subscription)
	if string(one.Data) != "one" || string(two.Data) != "two" || one.Header.Get("Other") != "kept" {
		t.Fatal(one, two)
	}
	for _, message := range []*nats.Msg{one, two} {
		stamp := message.Header.Get("Meridian-Identity")
		if !strings.HasPrefix(stamp, "iss=meridian;sub=checkout;role=checkout;req=") || len(message.Header["meridian-identity"]) != 0 {
			t.Fatal(message.Header)
		}
	}
}

func TestAQueueGroupShares(t *testing.T) {
	first, second := open(t, "checkout"), open(t, "checkout")
	arrived := make(chan int, 200)
	for member, connection := range []*nats.Conn{first, second} {
		_, err := connection.QueueSubscribe("orders.shared", "workers", func(*nats.Msg) { arrived <- member })
		need(t, err)
		need(t, connection.Flush())
	}
	for range 200 {
		need(t, first.Publish("orders.shared", nil))
	}
	counts := [2]int{}
	for range 200 {
		select {
		case member := <-arrived:
			counts[member]++
		case <-time.After(patience):
			t.Fatal(counts)
		}
	}
	if counts[0] == 0 || counts[1] == 0 {
		t.Fatal(counts)
	}
}

func TestRequestsAreAnswered(t *testing.T) {
	server := open(t, "checkout")
	for name, more := range map[string][]nats.Option{"": nil, "each with an inbox of its own": {nats.UseOldRequestStyle()}} {
		t.Run(name, func(t *testing.T) {
			client := open(t, "storefront", more...)
			if _, err := client.Request("orders.service", nil, patience); !errors.Is(err, nats.ErrNoResponders) {
				t.Fatal(err)
			}
			served, err := server.Subscribe("orders.service", func(message *nats.Msg) {
				_ = message.Respond([]byte(message.Header.Get("Meridian-Identity")))
			})
			need(t, err)
			need(t, server.Flush())
			for range 50 {
				reply, err := client.Request("orders.service", nil, patience)
				need(t, err)
				if !strings.Contains(string(reply.Data), "sub=storefront") {
					t.Fatal(string(reply.Data))
				}
			}
			need(t, served.Unsubscribe())
			need(t, server.Flush())
		})
	}
}

func TestADenialLeavesTheConnection(t *testing.T) {
	complaints := make(chan error, 10)
	connection := open(t, "checkout", nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { complaints <- err }))
	wait := func(part string) {
		t.Helper()
		select {
		case err := <-complaints:
			if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(strings.ToLower(err.Error()), part) {
				t.Fatal(err)
			}
		case <-time.After(patience):
			t.Fatal("no complaint of " + part)
		}
	}
	need(t, connection.Publish("other", nil))
	wait(`publish to "other"`)
	_, err := connection.SubscribeSync("other.>")
	need(t, err)
	wait(`subscription to "other.>"`)
	subscription, err := connection.SubscribeSync("orders.after")
	need(t, err)
	need(t, connection.Publish("orders.after", []byte("x")))
	next(t, subscription)
}

func TestBadTokensHaveNoWayIn(t *testing.T) {
	for _, token := range []string{"", "a.b.c"} {
		if _, err := nats.Connect(address(), nats.Token(token), nats.NoReconnect(), nats.Timeout(patience)); !errors.Is(err, nats.ErrAuthorization) {
			t.Fatal(err)
		}
	}
}

func TestTheTokenMayBeAPassword(t *testing.T) {
	connection, err := nats.Connect(address(), nats.UserInfo("checkout", node.Token("clerk")), nats.NoReconnect())
	need(t, err)
	defer connection.Close()
	if connection.ConnectedServerName() != "clients" || len(connection.DiscoveredServers()) != 0 {
		t.Fatal(connection.ConnectedServerName(), connection.DiscoveredServers())
	}
}

func TestJetStreamStoresAndDelivers(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	streams, err := jetstream.New(open(t, "checkout"))
	need(t, err)
	stream, err := streams.CreateStream(ctx, jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.stream.>"}})
	need(t, err)
	defer func() { need(t, streams.DeleteStream(context.WithoutCancel(ctx), "ORDERS")) }()
	for n := range 100 {
		stored, err := streams.Publish(ctx, "orders.stream.a", []byte(strconv.Itoa(n)), jetstream.WithMsgID(strconv.Itoa(n)))
		need(t, err)
		if stored.Sequence != uint64(n)+1 || stored.Duplicate {
			t.Fatal(stored)
		}
	}
	again, err := streams.Publish(ctx, "orders.stream.a", nil, jetstream.WithMsgID("7"))
	need(t, err)
	if !again.Duplicate {
		t.Fatal(again)
	}
	consumer, err := stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{Durable: "go", AckPolicy: jetstream.AckExplicitPolicy})
	need(t, err)
	ordered, err := streams.OrderedConsumer(ctx, "ORDERS", jetstream.OrderedConsumerConfig{})
	need(t, err)
	for name, consumer := range map[string]jetstream.Consumer{"durable": consumer, "ordered": ordered} {
		batch, err := consumer.Fetch(100, jetstream.FetchMaxWait(patience))
		need(t, err)
		n := 0
		for message := range batch.Messages() {
			if string(message.Data()) != strconv.Itoa(n) || !strings.Contains(message.Headers().Get("Meridian-Identity"), "sub=checkout") {
				t.Fatal(name, n, string(message.Data()))
			}
			if name == "durable" {
				need(t, message.DoubleAck(ctx))
			}
			n++
		}
		if n != 100 || batch.Error() != nil {
			t.Fatal(name, n, batch.Error())
		}
	}
	told, err := consumer.Info(ctx)
	need(t, err)
	if told.NumPending != 0 || told.NumAckPending != 0 {
		t.Fatal(told)
	}
}

func TestKeysAndValues(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	streams, err := jetstream.New(open(t, "checkout"))
	need(t, err)
	bucket, err := streams.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "CARTS", History: 5})
	need(t, err)
	defer func() { need(t, streams.DeleteKeyValue(context.WithoutCancel(ctx), "CARTS")) }()
	watcher, err := bucket.WatchAll(ctx)
	need(t, err)
	defer func() { _ = watcher.Stop() }()
	if entry := <-watcher.Updates(); entry != nil {
		t.Fatal(entry)
	}
	revision, err := bucket.Put(ctx, "c1", []byte("apple"))
	need(t, err)
	if _, err = bucket.Update(ctx, "c1", []byte("pear"), revision); err != nil {
		t.Fatal(err)
	}
	if _, err = bucket.Update(ctx, "c1", []byte("plum"), revision); err == nil {
		t.Fatal("an old revision was taken")
	}
	entry, err := bucket.Get(ctx, "c1")
	need(t, err)
	if string(entry.Value()) != "pear" {
		t.Fatal(entry)
	}
	need(t, bucket.Delete(ctx, "c1"))
	if _, err = bucket.Get(ctx, "c1"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Fatal(err)
	}
	for _, wanted := range []string{"apple", "pear", ""} {
		select {
		case seen := <-watcher.Updates():
			if string(seen.Value()) != wanted {
				t.Fatal(seen)
			}
		case <-time.After(patience):
			t.Fatal("the watcher did not see " + wanted)
		}
	}
}

func TestAStreamOfOthersIsRefused(t *testing.T) {
	streams, err := jetstream.New(open(t, "checkout"))
	need(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err = streams.CreateStream(ctx, jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"orders.x"}}); err == nil {
		t.Fatal("made")
	}
}

func TestTLS(t *testing.T) {
	if _, err := os.Stat(node.Authority()); err != nil {
		t.Fatal(err)
	}
	for name, more := range map[string][]nats.Option{"behind INFO": nil, "first": {nats.TLSHandshakeFirst()}} {
		t.Run(name, func(t *testing.T) {
			options := append([]nats.Option{nats.Secure(), nats.RootCAs(node.Authority())}, more...)
			connection := open(t, "checkout", options...)
			if _, err := connection.TLSConnectionState(); err != nil {
				t.Fatal(err)
			}
			subscription, err := connection.SubscribeSync("orders.tls")
			need(t, err)
			need(t, connection.Publish("orders.tls", make([]byte, 300_000)))
			if got := next(t, subscription); len(got.Data) != 300_000 {
				t.Fatal(len(got.Data))
			}
		})
	}
}

// Connections with another client's protocol in front of the same door: WebSocket.
func TestWebSocket(t *testing.T) {
	// ws is for tests alone; wss is what the node's certificate is for.
	for scheme, more := range map[string][]nats.Option{"ws": nil, "wss": {nats.RootCAs(node.Authority())}} {
		t.Run(scheme, func(t *testing.T) {
			options := append([]nats.Option{nats.Token(node.Token("checkout")), nats.NoReconnect(), nats.Timeout(patience), nats.Compression(true)}, more...)
			connection, err := nats.Connect(scheme+"://127.0.0.1:"+node.Env("NODE_NATS_WEBSOCKET_PORT"), options...)
			need(t, err)
			defer connection.Close()
			subscription, err := connection.SubscribeSync("orders.ws")
			need(t, err)
			for _, size := range []int{0, 1, 100, 125, 126, 65_535, 65_536, 900_000} {
				need(t, connection.Publish("orders.ws", make([]byte, size)))
				if got := next(t, subscription); len(got.Data) != size {
					t.Fatal(size, len(got.Data))
				}
			}
		})
	}
}
