import java.util.Locale;

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
}
