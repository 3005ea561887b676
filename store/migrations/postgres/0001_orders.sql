-- As in SQLite, but that ids are of type uuid: 16 bytes a key instead of 37, and compared as bytes
-- whatever the database's collation. Times stay microseconds since the Unix epoch, the value that
-- the events carry: timestamptz ends at years that a bigint doesn't. The payload stays text: it is
-- only ever read whole, and jsonb refuses \u0000, which a customer's note may contain.

-- What was read from the topics, each event once, as JSON. Everything else follows from it.
CREATE TABLE events (
    event_id      uuid    NOT NULL PRIMARY KEY,
    order_id      uuid    NOT NULL,
    kind          text    NOT NULL, -- order, payment, notification
    topic         text    NOT NULL,
    partition_id  integer NOT NULL,
    record_offset bigint  NOT NULL,
    recorded_at   bigint  NOT NULL,
    payload       text    NOT NULL
);
CREATE INDEX events_by_order ON events (order_id);
CREATE INDEX events_by_place ON events (topic, partition_id, record_offset);

-- One row an order, folded from its events: what lists filter and sort by.
CREATE TABLE orders (
    order_id    uuid   NOT NULL PRIMARY KEY,
    customer_id text   NOT NULL, -- \ and NUL as \\ and \0
    status      text   NOT NULL,
    placed_at   bigint NOT NULL
);
CREATE INDEX orders_by_time ON orders (placed_at, order_id);
CREATE INDEX orders_by_customer ON orders (customer_id, placed_at, order_id);
-- Lists of what has one status, such as the few orders that are pending among millions.
CREATE INDEX orders_by_status ON orders (status, placed_at, order_id);

-- How far each partition has been applied; only ever grows.
CREATE TABLE positions (
    topic        text    NOT NULL,
    partition_id integer NOT NULL,
    next_offset  bigint  NOT NULL,
    PRIMARY KEY (topic, partition_id)
);
