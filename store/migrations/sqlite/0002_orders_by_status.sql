-- Lists of what has one status, such as the few orders that are pending among millions.
CREATE INDEX orders_by_status ON orders (status, placed_at, order_id);
