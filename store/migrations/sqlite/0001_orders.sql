-- Times are microseconds since the Unix epoch, ids are UUIDs in their hyphenated text form.

-- What was read from the topics, each event once, as JSON. Everything else follows from it.
CREATE TABLE events (
    event_id      TEXT    NOT NULL PRIMARY KEY,
    order_id      TEXT    NOT NULL,
    kind          TEXT    NOT NULL, -- order, payment, notification
    topic         TEXT    NOT NULL,
    partition_id  INTEGER NOT NULL,
    record_offset BIGINT  NOT NULL,
    recorded_at   BIGINT  NOT NULL,
    payload       TEXT    NOT NULL
);
CREATE INDEX events_by_order ON events (order_id);
CREATE INDEX events_by_place ON events (topic, partition_id, record_offset);

-- One row an order, folded from its events: what lists filter and sort by.
CREATE TABLE orders (
    order_id    TEXT   NOT NULL PRIMARY KEY,
    customer_id TEXT   NOT NULL,
    status      TEXT   NOT NULL,
    placed_at   BIGINT NOT NULL
);
CREATE INDEX orders_by_time ON orders (placed_at, order_id);
CREATE INDEX orders_by_customer ON orders (customer_id, placed_at, order_id);

-- How far each partition has been applied; only ever grows.
CREATE TABLE positions (
    topic        TEXT    NOT NULL,
    partition_id INTEGER NOT NULL,
    next_offset  BIGINT  NOT NULL,
    PRIMARY KEY (topic, partition_id)
);
