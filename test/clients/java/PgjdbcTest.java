import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.Properties;
import org.junit.jupiter.api.Test;

/** pgjdbc through the postgres door. */
final class PgjdbcTest {
  private static Connection connect() throws SQLException {
    Properties properties = new Properties();
    properties.setProperty("user", "checkout");
    properties.setProperty("password", RunningNode.token("checkout"));
    return DriverManager.getConnection(
        "jdbc:postgresql://127.0.0.1:" + RunningNode.postgresPort() + "/shop", properties);
  }

  @Test
  void connects() throws SQLException {
    try (Connection connection = connect();
        ResultSet found = connection.createStatement().executeQuery("SELECT current_user")) {
      assertTrue(found.next());
      assertEquals("checkout", found.getString(1));
    }
  }
}
