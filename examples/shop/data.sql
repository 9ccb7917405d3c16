-- Fills the shop: 1,000 products, and for each unit of :scale 10,000 customers and 100,000 orders of one to three lines.
-- Run by the owner with psql's variable scale: psql -v scale=1 -f data.sql

BEGIN;

INSERT INTO products
SELECT 'sku-' || n, 'Product ' || n, 100 + n * 37 % 9900
FROM generate_series(1, 1000) AS n;

INSERT INTO customers
SELECT n, 'Customer ' || n, 'customer' || n || '@shop.example'
FROM generate_series(1, 10000 * :scale) AS n;

INSERT INTO orders (id, customer_id, status)
SELECT n, 1 + n * 7919 % (10000 * :scale), (ARRAY['open', 'paid', 'shipped', 'returned'])[1 + n % 4]
FROM generate_series(1, 100000 * :scale) AS n;

INSERT INTO order_lines
SELECT o.id, line, p.sku, 1 + (o.id + line) % 5, p.price_cents
FROM orders AS o
CROSS JOIN LATERAL generate_series(1, 1 + o.id % 3) AS line
JOIN products AS p ON p.sku = 'sku-' || (1 + (o.id * 31 + line * 17) % 1000);

UPDATE orders
SET total_cents = sums.total
FROM (SELECT order_id, sum(quantity * price_cents) AS total FROM order_lines GROUP BY order_id) AS sums
WHERE sums.order_id = orders.id;

COMMIT;

VACUUM ANALYZE;
