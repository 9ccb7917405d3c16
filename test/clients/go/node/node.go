// Package node tells the tests about the node that ../built.py has started for them.
package node

import (
	"encoding/json"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Env is a variable that has to be there.
func Env(name string) string {
	value, there := os.LookupEnv(name)
	if !there {
		panic(name + " is not set: these tests are started by test/clients/run.py")
	}
	return value
}

func PostgresPort() string { return Env("NODE_POSTGRES_PORT") }
func RedisPort() string    { return Env("NODE_REDIS_PORT") }

// Authority is the file of the one that signed the node's certificate.
func Authority() string { return Env("NODE_CA") }

// Token is the one of checkout, storefront or clerk.
func Token(subject string) string { return Env("TOKEN_" + strings.ToUpper(subject)) }

// PostgresText is where to connect to, and as whom, in the form that drivers share with libpq.
func PostgresText(more string) string {
	return "host=127.0.0.1 dbname=shop user=checkout port=" + PostgresPort() + " password=" + Token("checkout") + " " + more
}

// Failure is a statement that fails, with the code that the client must see.
type Failure struct{ SQL, State string }

func Failures(t *testing.T) []Failure {
	t.Helper()
	var entries [][2]string
	if err := json.Unmarshal([]byte(Env("SQLSTATES")), &entries); err != nil {
		t.Fatal(err)
	}
	failures := make([]Failure, 0, len(entries))
	for _, entry := range entries {
		failures = append(failures, Failure{SQL: entry[0], State: entry[1]})
	}
	return failures
}

// Placeholders is (prefix$1suffix,prefix$2suffix,...) without the outer brackets.
func Placeholders(count int, prefix, suffix string) string {
	var text strings.Builder
	for n := 1; n <= count; n++ {
		if n > 1 {
			text.WriteByte(',')
		}
		text.WriteString(prefix + "$" + strconv.Itoa(n) + suffix)
	}
	return text.String()
}

// LargeSize is that of the largest value; ParametersMax is how many the protocol can count.
const (
	LargeSize     = 100_000_000
	ParametersMax = 65_535
)

// Large is a value of that size that has every byte in it.
func Large() []byte {
	value := make([]byte, LargeSize)
	for n := range value {
		value[n] = byte(n * 7)
	}
	return value
}

// BadTokens calls use for one token of each kind that is refused, with what the client must be told.
func BadTokens(t *testing.T, use func(t *testing.T, token string, rule *regexp.Regexp)) {
	kinds := map[string][2]string{}
	if err := json.Unmarshal([]byte(Env("TOKENS_BAD")), &kinds); err != nil {
		t.Fatal(err)
	}
	for kind, entry := range kinds {
		t.Run(kind, func(t *testing.T) { use(t, entry[0], regexp.MustCompile(entry[1])) })
	}
}
