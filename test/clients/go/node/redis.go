package node

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// FreshToken is what a client's provider of credentials gives: a token of now that is good for so long.
func FreshToken(t *testing.T, subject, life string) string {
	t.Helper()
	var command []string
	if err := json.Unmarshal([]byte(Env("TOKEN_COMMAND")), &command); err != nil {
		t.Fatal(err)
	}
	command = append(command, subject, "--ttl", life)
	said, err := exec.Command(command[0], command[1:]...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(said))
}
