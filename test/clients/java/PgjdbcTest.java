import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.sql.BatchUpdateException;
import java.sql.CallableStatement;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Types;
import java.util.Arrays;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.copy.CopyIn;
import org.postgresql.copy.CopyManager;
import org.postgresql.largeobject.LargeObject;
import org.postgresql.largeobject.LargeObjectManager;
import org.postgresql.util.PSQLException;

/** pgjdbc through the postgres door, in the ways that it can run a statement. */
final class PgjdbcTest {
  private static final int PARAMETERS_MAX = 65_535;
  private static final int LARGE_SIZE = 100_000_000;

  /** How it runs statements: when it prepares by name, and which protocol it prefers. */
  private static Stream<String> ways() {
    return Stream.of(
        "",
        "prepareThreshold=1",
        "prepareThreshold=0",
        "prepareThreshold=-1",
        "preferQueryMode=simple",
        "preferQueryMode=extendedForPrepared",
        "preferQueryMode=extendedCacheEverything",
        "autosave=always");
  }

  private static Connection connect(String more) throws SQLException {
    return connect("127.0.0.1", RunningNode.token("checkout"), more);
  }

  private static Connection connect(String host, String token, String more) throws SQLException {
    Properties properties = new Properties();
    properties.setProperty("user", "checkout");
    properties.setProperty("password", token);
    return DriverManager.getConnection(
        "jdbc:postgresql://" + host + ":" + RunningNode.postgresPort() + "/shop?" + more, properties);
  }

  private static void run(Connection connection, String sql) throws SQLException {
    try (Statement statement = connection.createStatement()) {
      statement.execute(sql);
    }
  }

  private static int number(Connection connection, String sql) throws SQLException {
    try (Statement statement = connection.createStatement();
        ResultSet found = statement.executeQuery(sql)) {
      assertTrue(found.next());
      return found.getInt(1);
    }
  }

  private interface Action {
    void run() throws SQLException;
  }

  private static void assertState(String state, Action action) {
    SQLException told = assertThrows(SQLException.class, action::run);
    assertEquals(state, told.getSQLState(), told.getMessage());
  }

  @ParameterizedTest
  @MethodSource("ways")
  void rowsAreMadeReadChangedAndRemoved(String way) throws SQLException {
    try (Connection connection = connect(way);
        PreparedStatement insert =
            connection.prepareStatement("INSERT INTO orders (id, customer_id) VALUES (?, ?)");
        PreparedStatement select = connection.prepareStatement("SELECT status FROM orders WHERE id = ?");
        PreparedStatement update = connection.prepareStatement("UPDATE orders SET status = ? WHERE id = ?");
        PreparedStatement delete = connection.prepareStatement("DELETE FROM orders WHERE id = ?")) {
      // Often enough that it is prepared by name on the way, and read in binary.
      for (int id = 7001; id < 7013; ++id) {
        insert.setLong(1, id);
        insert.setLong(2, 1);
        assertEquals(1, insert.executeUpdate());
        update.setString(1, "paid");
        update.setLong(2, id);
        assertEquals(1, update.executeUpdate());
        select.setLong(1, id);
        try (ResultSet found = select.executeQuery()) {
          assertTrue(found.next());
          assertEquals("paid", found.getString(1));
          assertFalse(found.next());
        }
        delete.setLong(1, id);
        assertEquals(1, delete.executeUpdate());
      }
    }
  }

  @ParameterizedTest
  @MethodSource("ways")
  void transactionsAndSavepoints(String way) throws SQLException {
    try (Connection connection = connect(way)) {
      run(connection, "CREATE TEMP TABLE steps (n int)");
      connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
      connection.setAutoCommit(false);
      run(connection, "INSERT INTO steps VALUES (1)");
      Savepoint savepoint = connection.setSavepoint("s");
      run(connection, "INSERT INTO steps VALUES (2)");
      assertState("22012", () -> run(connection, "SELECT 1 / 0"));
      connection.rollback(savepoint);
      run(connection, "INSERT INTO steps VALUES (3)");
      connection.commit();
      run(connection, "DELETE FROM steps");
      connection.rollback();
      assertEquals(4, number(connection, "SELECT sum(n) FROM steps"));
      connection.rollback();
      connection.setReadOnly(true);
      assertState("25006", () -> run(connection, "DELETE FROM orders"));
      connection.rollback();
    }
  }

  @ParameterizedTest
  @MethodSource("ways")
  void errorsInAndOutsideOfTransactions(String way) throws SQLException {
    boolean saves = way.equals("autosave=always");
    try (Connection connection = connect(way)) {
      for (RunningNode.Failure failure : RunningNode.failures()) {
        connection.setAutoCommit(true);
        assertState(failure.state(), () -> run(connection, failure.sql()));
        assertEquals(7, number(connection, "SELECT 7"));
        connection.setAutoCommit(false);
        assertState(failure.state(), () -> run(connection, failure.sql()));
        if (saves) {
          assertEquals(8, number(connection, "SELECT 8"));
        } else {
          assertState("25P02", () -> run(connection, "SELECT 8"));
        }
        connection.rollback();
        assertEquals(9, number(connection, "SELECT 9"));
        connection.commit();
      }
      connection.setAutoCommit(true);
      PSQLException told =
          assertThrows(
              PSQLException.class, () -> run(connection, "INSERT INTO orders (id, customer_id) VALUES (1, 1)"));
      assertNotNull(told.getServerErrorMessage());
      assertEquals("orders_pkey", told.getServerErrorMessage().getConstraint());
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "prepareThreshold=-1", "preferQueryMode=simple"})
  void manyParameters(String way) throws SQLException {
    String list = String.join(",", Stream.generate(() -> "(?::int)").limit(PARAMETERS_MAX).toList());
    try (Connection connection = connect(way);
        PreparedStatement select = connection.prepareStatement("SELECT sum(n) FROM (VALUES " + list + ") v (n)")) {
      for (int i = 0; i < PARAMETERS_MAX; ++i) {
        select.setInt(i + 1, i);
      }
      try (ResultSet found = select.executeQuery()) {
        assertTrue(found.next());
        assertEquals(IntStream.range(0, PARAMETERS_MAX).asLongStream().sum(), found.getLong(1));
      }
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "prepareThreshold=-1"})
  void largeValues(String way) throws SQLException, IOException {
    byte[] large = new byte[LARGE_SIZE];
    for (int i = 0; i < large.length; ++i) {
      large[i] = (byte) (i * 7);
    }
    try (Connection connection = connect(way)) {
      run(connection, "CREATE TEMP TABLE kept (value bytea)");
      try (PreparedStatement insert = connection.prepareStatement("INSERT INTO kept VALUES (?)")) {
        insert.setBytes(1, large);
        assertEquals(1, insert.executeUpdate());
        insert.setBinaryStream(1, new ByteArrayInputStream(large), large.length);
        assertEquals(1, insert.executeUpdate());
      }
      try (PreparedStatement select = connection.prepareStatement("SELECT value FROM kept");
          ResultSet found = select.executeQuery()) {
        assertTrue(found.next());
        assertTrue(Arrays.equals(large, found.getBytes(1)));
        assertTrue(found.next());
        try (InputStream stream = found.getBinaryStream(1)) {
          assertTrue(Arrays.equals(large, stream.readAllBytes()));
        }
      }
    }
  }

  @Test
  void aMessageAboveTheBoundIsRefusedByName() throws SQLException {
    try (Connection connection = connect("");
        PreparedStatement select = connection.prepareStatement("SELECT ?::bytea")) {
      select.setBytes(1, new byte[300 << 20]);
      SQLException told = assertThrows(SQLException.class, select::executeQuery);
      assertEquals("54000", told.getSQLState(), told.getMessage());
      assertTrue(told.getMessage().contains("request_bytes_max"), told.getMessage());
    }
  }

  @ParameterizedTest
  @MethodSource("ways")
  void manyRowsAndSeveralResults(String way) throws SQLException {
    try (Connection connection = connect(way);
        Statement statement = connection.createStatement()) {
      try (ResultSet found = statement.executeQuery("SELECT generate_series(1, 200000)")) {
        long sum = 0;
        while (found.next()) {
          sum += found.getInt(1);
        }
        assertEquals(200_000L * 200_001 / 2, sum);
      }
      assertTrue(statement.execute("SELECT 1; SELECT 2"));
      assertTrue(statement.getMoreResults());
      try (ResultSet found = statement.getResultSet()) {
        assertTrue(found.next());
        assertEquals(2, found.getInt(1));
      }
      // By parts, from a portal that lives through other statements.
      connection.setAutoCommit(false);
      statement.setFetchSize(1_000);
      try (ResultSet found = statement.executeQuery("SELECT generate_series(1, 20000)")) {
        int count = 0;
        while (found.next()) {
          if (++count % 5_000 == 0) {
            run(connection, "UPDATE orders SET revision = revision WHERE id = 3");
          }
        }
        assertEquals(20_000, count);
      }
      connection.commit();
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "reWriteBatchedInserts=true", "prepareThreshold=1", "preferQueryMode=simple"})
  void batches(String way) throws SQLException {
    try (Connection connection = connect(way)) {
      run(connection, "CREATE TEMP TABLE steps (n int PRIMARY KEY)");
      int count = 30_000;
      try (PreparedStatement insert = connection.prepareStatement("INSERT INTO steps VALUES (?)")) {
        for (int i = 0; i < count; ++i) {
          insert.setInt(1, i);
          insert.addBatch();
        }
        assertEquals(count, insert.executeBatch().length);
        // One of them is there already.
        for (int i = count; i > count - 10; --i) {
          insert.setInt(1, i);
          insert.addBatch();
        }
        BatchUpdateException told = assertThrows(BatchUpdateException.class, insert::executeBatch);
        assertEquals("23505", told.getSQLState());
      }
      assertTrue(number(connection, "SELECT count(*) FROM steps") >= count);
      try (PreparedStatement keys =
          connection.prepareStatement("INSERT INTO steps VALUES (?)", Statement.RETURN_GENERATED_KEYS)) {
        for (int i = 0; i < 1_000; ++i) {
          keys.setInt(1, -1 - i);
          keys.addBatch();
        }
        keys.executeBatch();
        int returned = 0;
        try (ResultSet found = keys.getGeneratedKeys()) {
          while (found.next()) {
            assertEquals(-1 - returned++, found.getInt(1));
          }
        }
        assertEquals(1_000, returned);
      }
    }
  }

  @Test
  void statementsArePreparedByNameAndOutliveTheirTable() throws SQLException {
    try (Connection connection = connect("prepareThreshold=2")) {
      run(connection, "CREATE TEMP TABLE shape (a int)");
      run(connection, "INSERT INTO shape VALUES (1)");
      try (PreparedStatement select = connection.prepareStatement("SELECT * FROM shape")) {
        for (int i = 0; i < 5; ++i) {
          select.executeQuery().close();
        }
        assertEquals(1, number(connection, "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%shape'"));
        run(connection, "ALTER TABLE shape ADD b int");
        // pgjdbc hears 0A000 and prepares again.
        try (ResultSet found = select.executeQuery()) {
          assertEquals(2, found.getMetaData().getColumnCount());
        }
        run(connection, "DEALLOCATE ALL");
        try (ResultSet found = select.executeQuery()) {
          assertTrue(found.next());
        }
      }
    }
  }

  @Test
  void copyBothWays() throws SQLException, IOException {
    try (Connection connection = connect("")) {
      run(connection, "CREATE TEMP TABLE copied (id int, name text)");
      StringBuilder lines = new StringBuilder();
      for (int i = 0; i < 100_000; ++i) {
        lines.append(i).append("\tname ").append(i).append('\n');
      }
      byte[] bytes = lines.toString().getBytes(StandardCharsets.UTF_8);
      CopyManager copies = connection.unwrap(PGConnection.class).getCopyAPI();
      assertEquals(100_000, copies.copyIn("COPY copied FROM STDIN", new ByteArrayInputStream(bytes)));
      for (String format : new String[] {"text", "binary"}) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        assertEquals(100_000, copies.copyOut("COPY copied TO STDOUT (FORMAT " + format + ")", out));
        if (format.equals("text")) {
          assertArrayEquals(bytes, out.toByteArray());
        }
        run(connection, "TRUNCATE copied");
        copies.copyIn(
            "COPY copied FROM STDIN (FORMAT " + format + ")", new ByteArrayInputStream(out.toByteArray()));
      }
      byte[] wrong = "no number\tx\n".getBytes(StandardCharsets.UTF_8);
      assertState(
          "22P02",
          () -> {
            CopyIn copy = copies.copyIn("COPY copied FROM STDIN");
            copy.writeToCopy(wrong, 0, wrong.length);
            copy.endCopy();
          });
      CopyIn given = copies.copyIn("COPY copied FROM STDIN");
      given.writeToCopy(wrong, 0, 3);
      given.cancelCopy();
      assertEquals(100_000, number(connection, "SELECT count(*) FROM copied"));
    }
  }

  @Test
  void notifications() throws SQLException {
    try (Connection listener = connect("");
        Connection speaker = connect("")) {
      run(listener, "LISTEN news_of_java");
      for (int i = 0; i < 3; ++i) {
        run(speaker, "NOTIFY news_of_java, '" + i + "'");
      }
      StringBuilder heard = new StringBuilder();
      while (heard.length() < 3) {
        PGNotification[] notifications = listener.unwrap(PGConnection.class).getNotifications(60_000);
        assertTrue(notifications.length > 0);
        for (PGNotification notification : notifications) {
          heard.append(notification.getParameter());
        }
      }
      assertEquals("012", heard.toString());
    }
  }

  @Test
  void cancel() throws SQLException, InterruptedException {
    try (Connection connection = connect("");
        Statement statement = connection.createStatement()) {
      AtomicBoolean done = new AtomicBoolean();
      Thread canceller =
          new Thread(
              () -> {
                try {
                  while (!done.get()) {
                    Thread.sleep(300);
                    statement.cancel();
                  }
                } catch (InterruptedException | SQLException error) {
                  throw new IllegalStateException(error);
                }
              });
      canceller.start();
      assertState("57014", () -> statement.execute("SELECT pg_sleep(60)"));
      done.set(true);
      canceller.join();
      assertEquals(1, number(connection, "SELECT 1"));
      statement.setQueryTimeout(1);
      assertState("57014", () -> statement.execute("SELECT pg_sleep(60)"));
      assertEquals(1, number(connection, "SELECT 1"));
    }
  }

  /** The one client with function calls of the protocol's own. */
  @Test
  void largeObjectsAndFunctions() throws SQLException {
    try (Connection connection = connect("")) {
      connection.setAutoCommit(false);
      LargeObjectManager objects = connection.unwrap(PGConnection.class).getLargeObjectAPI();
      long id = objects.createLO();
      byte[] value = "a large object".repeat(100_000).getBytes(StandardCharsets.UTF_8);
      try (LargeObject object = objects.open(id, LargeObjectManager.WRITE)) {
        object.write(value);
      }
      try (LargeObject object = objects.open(id, LargeObjectManager.READ)) {
        assertArrayEquals(value, object.read(value.length));
      }
      objects.delete(id);
      connection.commit();
      assertThrows(SQLException.class, () -> objects.open(id, LargeObjectManager.READ));
      connection.rollback();
      try (CallableStatement call = connection.prepareCall("{? = call upper(?)}")) {
        call.registerOutParameter(1, Types.VARCHAR);
        call.setString(2, "told");
        call.execute();
        assertEquals("TOLD", call.getString(1));
      }
      try (ResultSet tables = connection.getMetaData().getTables(null, "public", "orders", null)) {
        assertTrue(tables.next());
      }
      try (ResultSet columns = connection.getMetaData().getColumns(null, "public", "orders", null)) {
        int count = 0;
        while (columns.next()) {
          ++count;
        }
        assertEquals(5, count);
      }
    }
  }

  @Test
  void tls() throws SQLException {
    String checked = "sslmode=verify-full&sslrootcert=" + RunningNode.authority();
    for (String way : new String[] {"postgres", "direct"}) {
      try (Connection connection =
          connect("localhost", RunningNode.token("checkout"), checked + "&sslNegotiation=" + way)) {
        assertEquals(1, number(connection, "SELECT 1"));
      }
    }
    assertThrows(SQLException.class, () -> connect("sslmode=verify-full"));
  }

  @Test
  void badTokensAreRefusedWithTheRule() {
    for (RunningNode.BadToken bad : RunningNode.badTokens()) {
      SQLException told = assertThrows(SQLException.class, () -> connect("127.0.0.1", bad.token(), ""));
      assertEquals("28000", told.getSQLState());
      assertTrue(Pattern.compile(bad.rule()).matcher(told.getMessage()).find(), told.getMessage());
    }
  }
}
