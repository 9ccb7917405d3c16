-- The shop's tables. Run by the database's owner: meridian psql --owner --database shop -- -f schema.sql

CREATE TABLE customers (
  id         bigint PRIMARY KEY,
  name       text NOT NULL,
  email      text NOT NULL UNIQUE
);

CREATE TABLE products (
  sku         text PRIMARY KEY,
  name        text NOT NULL,
  price_cents bigint NOT NULL CHECK (price_cents >= 0)
);

CREATE TABLE orders (
  id          bigint PRIMARY KEY,
  customer_id bigint NOT NULL REFERENCES customers,
  status      text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'paid', 'shipped', 'returned')),
  total_cents bigint NOT NULL DEFAULT 0,
  -- Counts the order's changes; the coherence checker knows by it which state it reads.
  revision    bigint NOT NULL DEFAULT 0
);

CREATE TABLE order_lines (
  order_id    bigint NOT NULL REFERENCES orders,
  line        int NOT NULL,
  sku         text NOT NULL REFERENCES products,
  quantity    int NOT NULL CHECK (quantity > 0),
  price_cents bigint NOT NULL,
  PRIMARY KEY (order_id, line)
);

-- Meridian has made the roles: meridian.yaml names them. What they may do with tables is said here.
GRANT SELECT, INSERT, UPDATE, DELETE ON customers, products, orders, order_lines TO checkout;
GRANT SELECT ON customers, products, orders, order_lines TO storefront;
GRANT SELECT ON customers, products, orders, order_lines TO view_reader;
