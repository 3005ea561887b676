-- When the oldest of the order's events came that waits for its result: NULL for nearly all orders.
-- Those of an older form get the time they were placed at, which is no later.
ALTER TABLE orders ADD COLUMN waiting_since bigint;
UPDATE orders SET waiting_since = placed_at WHERE status = 'PENDING';
CREATE INDEX orders_by_waiting ON orders (waiting_since, order_id) WHERE waiting_since IS NOT NULL;
