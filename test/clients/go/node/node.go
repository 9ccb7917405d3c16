// Package node tells the tests about the node that ../built.py has started for them.
package node

import (
	"encoding/json"
	"os"
	"regexp"
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
