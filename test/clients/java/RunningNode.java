import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** What the tests know of the node that ../built.py has started for them. */
final class RunningNode {
  private RunningNode() {}

  /** A variable that has to be there. */
  static String env(String name) {
    String value = System.getenv(name);
    if (value == null) {
      throw new IllegalStateException(name + " is not set: these tests are started by test/clients/run.py");
    }
    return value;
  }

  static int postgresPort() {
    return Integer.parseInt(env("NODE_POSTGRES_PORT"));
  }

  static int redisPort() {
    return Integer.parseInt(env("NODE_REDIS_PORT"));
  }

  /** Of checkout, storefront or clerk. */
  static String token(String subject) {
    return env("TOKEN_" + subject.toUpperCase(Locale.ROOT));
  }

  /** The file of the one that signed the node's certificate. */
  static String authority() {
    return env("NODE_CA");
  }

  /** A token that is refused, and the pattern of what the client must be told. */
  record BadToken(String kind, String token, String rule) {}

  static List<BadToken> badTokens() {
    List<String> texts = texts(env("TOKENS_BAD"));
    List<BadToken> found = new ArrayList<>();
    for (int i = 0; i < texts.size(); i += 3) {
      found.add(new BadToken(texts.get(i), texts.get(i + 1), texts.get(i + 2)));
    }
    return found;
  }

  /** A statement that fails, with the code that the client must see. */
  record Failure(String sql, String state) {}

  static List<Failure> failures() {
    List<String> texts = texts(env("SQLSTATES"));
    List<Failure> found = new ArrayList<>();
    for (int i = 0; i < texts.size(); i += 2) {
      found.add(new Failure(texts.get(i), texts.get(i + 1)));
    }
    return found;
  }

  /** The texts in a piece of JSON, one after another. */
  private static List<String> texts(String json) {
    List<String> found = new ArrayList<>();
    Matcher text = Pattern.compile("\"((?:[^\"\\\\]|\\\\.)*)\"").matcher(json);
    while (text.find()) {
      found.add(text.group(1).replaceAll("\\\\(.)", "$1"));
    }
    if (found.isEmpty()) {
      throw new IllegalStateException("no text in " + json);
    }
    return found;
  }
}
