import java.io.File;
import java.io.FileInputStream;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Tokens, and what else the tests of Redis's clients share. */
final class RedisTokens {
  private RedisTokens() {}

  private static final Pattern TEXT = Pattern.compile("\"((?:[^\"\\\\]|\\\\.)*)\"");

  /** The texts of a list, or of an object with its names, in JSON without other escapes than \" and \\. */
  private static List<String> texts(String json) {
    List<String> found = new ArrayList<>();
    for (Matcher matcher = TEXT.matcher(json); matcher.find(); ) {
      found.add(matcher.group(1).replaceAll("\\\\(.)", "$1"));
    }
    return found;
  }

  /** What a client's provider of credentials gives: a token of now that is good for so long. */
  static String fresh(String subject, String life) {
    List<String> command = texts(RunningNode.env("TOKEN_COMMAND"));
    command.addAll(List.of(subject, "--ttl", life));
    try {
      Process process = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
      String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip();
      if (process.waitFor() != 0) {
        throw new IllegalStateException("the command for tokens failed: " + said);
      }
      return said;
    } catch (java.io.IOException | InterruptedException failure) {
      throw new IllegalStateException(failure);
    }
  }

  /** Gives a fresh token each time. */
  static final class Provider {
    final AtomicInteger given = new AtomicInteger();
    volatile String life = "3s";

    String token() {
      given.incrementAndGet();
      return fresh("storefront", life);
    }
  }

  /** By kind: a token that is refused, and what the client must be told. */
  static Map<String, Map.Entry<String, Pattern>> bad() {
    List<String> said = texts(RunningNode.env("TOKENS_BAD"));
    Map<String, Map.Entry<String, Pattern>> kinds = new TreeMap<>();
    for (int at = 0; at < said.size(); at += 3) {
      kinds.put(said.get(at), Map.entry(said.get(at + 1), Pattern.compile(said.get(at + 2))));
    }
    return kinds;
  }

  /** Trusts the one that signed the node's certificate, and nobody else. */
  static KeyStore authority() throws Exception {
    KeyStore known = KeyStore.getInstance(KeyStore.getDefaultType());
    known.load(null, null);
    try (InputStream file = new FileInputStream(new File(RunningNode.env("NODE_CA")))) {
      known.setCertificateEntry("authority", CertificateFactory.getInstance("X.509").generateCertificate(file));
    }
    return known;
  }

  /** Writes rows. */
  static Connection sql() throws SQLException {
    return DriverManager.getConnection("jdbc:postgresql://127.0.0.1:" + RunningNode.postgresPort() + "/shop", "checkout",
        RunningNode.token("checkout"));
  }
}
