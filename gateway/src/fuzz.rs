//! What a client's bytes go through before anything is decided, for fuzzing: each function takes any
//! bytes and panics where something is wrong. The targets under `fuzz/` call them, and so do tests,
//! with what is kept there and what is near it.

use std::sync::LazyLock;

use async_graphql::parser::types::{OperationDefinition, Selection, SelectionSet};
use async_graphql::{Name, Positioned, ServerError, Variables};
use serde_json::value::RawValue;

use crate::documents::Documents;
use crate::limits::{Limits, generous};
use crate::params::Wanted;
use crate::updates::Cursor;
use crate::{http, receipt, syntax, ws};

/// Longest message of a refusal, in bytes: no name comes back in full and often.
const MAX_MESSAGE: usize = 2_000;
/// Few enough that documents are driven out.
const DOCUMENTS: usize = 64;

static LIMITS: LazyLock<Limits> = LazyLock::new(generous);
static KNOWN: LazyLock<Documents> = LazyLock::new(documents);

/// Documents that the variables are for; the first byte says which.
const WITH_VARIABLES: [&str; 6] = [
    "mutation($input: PlaceOrderInput!) { placeOrder(input: $input) { order { id } } }",
    "mutation($inputs: [PlaceOrderInput!]!) { placeOrders(inputs: $inputs) { order { id } } }",
    "mutation($id: ID!, $n: String, $l: [OrderLineInput!], $v: Int) {
        updateOrder(input: { orderId: $id, note: $n, lines: $l, expectedVersion: $v }) {
            order { id } } }",
    "query($f: OrderFilter, $n: Int = 3) { orders(first: $n, filter: $f) { nodes { id } } }",
    "query($s: [OrderStatus!], $t: DateTime, $c: Boolean = true) {
        orders(filter: { status: $s, placedAfter: $t }) { nodes { id @skip(if: $c) note } } }",
    "subscription($id: ID, $a: String) { orderUpdates(orderId: $id, after: $a) { cursor } }",
];

fn documents() -> Documents {
    Documents::of_limits(*LIMITS, DOCUMENTS, 1 << 20)
}

/// A document: it is measured as it is read, a known one is answered like one that is not, and what is
/// executed has each field once.
pub fn document(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for max in [1, 40, 10_000] {
        match syntax::parse(text, max) {
            Ok(parsed) => assert!(parsed.tokens <= max),
            Err(error) => assert_refusal(&error.into()),
        }
    }
    validate(text, &Variables::default());
}

/// Variables as JSON, behind a byte that says of which document.
pub fn variables(bytes: &[u8]) {
    let Some((which, json)) = bytes.split_first() else { return };
    let Ok(raw) = serde_json::from_slice::<&RawValue>(json) else { return };
    let text = WITH_VARIABLES[usize::from(*which) % WITH_VARIABLES.len()];
    match LIMITS.read_variables(raw) {
        Ok(variables) => validate(text, &variables),
        Err(failure) => assert_refusal(&failure.into_server_error()),
    }
}

fn validate(text: &str, variables: &Variables) {
    let wanted = Wanted::Text(text.to_owned());
    let found = match KNOWN.find(&wanted, &None) {
        Ok(found) => found,
        Err(error) => return assert_refusal(&error),
    };
    let parsed = &found.document.parsed;
    for (name, operation) in parsed.operations.iter() {
        let name = name.map(Name::as_str);
        let check = |documents: &Documents| {
            let found = documents.find(&wanted, &None).map_err(|error| vec![error])?;
            let mut variables = variables.clone();
            documents.validate(&found, (name, &operation.node), &mut variables)?;
            Ok::<_, Vec<ServerError>>(variables)
        };
        let (first, second, new) = (check(&KNOWN), check(&KNOWN), check(&documents()));
        assert_eq!(first.is_ok(), second.is_ok());
        assert_eq!(first.is_ok(), new.is_ok());
        match first {
            Ok(variables) => {
                let executed = found.document.executable(name, &operation.node, &variables);
                assert_collected(&executed);
            }
            Err(errors) => errors.iter().for_each(assert_refusal),
        }
    }
}

fn assert_refusal(error: &ServerError) {
    let code = error.extensions.as_ref().and_then(|extensions| extensions.get("code"));
    assert_ne!(code, Some(&"INTERNAL".into()), "what was caught is a failure all the same");
    assert!(!error.message.is_empty() && error.message.len() <= MAX_MESSAGE);
    assert!(error.locations.iter().all(|pos| pos.line > 0 && pos.column > 0));
}

fn assert_collected(operation: &OperationDefinition) {
    assert!(operation.directives.is_empty());
    assert_once(&operation.selection_set);
}

fn assert_once(set: &Positioned<SelectionSet>) {
    let mut keys = std::collections::HashSet::new();
    for selection in &set.node.items {
        let Selection::Field(field) = &selection.node else { panic!("a fragment is executed") };
        assert!(field.node.directives.is_empty());
        assert!(keys.insert(&field.node.response_key().node), "a key twice");
        assert_once(&field.node.selection_set);
    }
}

/// A cursor of a subscription: what is taken is written as it was.
pub fn cursor(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(cursor) = Cursor::parse(text) {
        assert_eq!(Cursor::parse(&cursor.to_string()).as_ref(), Ok(&cursor));
    }
}

/// The token of a receipt: what is taken names one position.
pub fn receipt_token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(position) = receipt::parse(text) {
        assert!(position.partition >= 0 && position.next_offset > 0);
    }
}

/// A message of a WebSocket's client, and the same bytes as frames.
pub fn message(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        ws::read_for_fuzzing(text);
    }
    ws::frame_for_fuzzing(bytes);
}

/// The parameters of a request, as a body and as the query of a URL.
pub fn parameters(bytes: &[u8]) {
    http::read_for_fuzzing(bytes);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::{Duration, Instant};

    use proptest::prelude::*;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

    use super::*;

    type Target = (&'static str, fn(&[u8]));

    const TARGETS: [Target; 6] = [
        ("document", document),
        ("variables", variables),
        ("cursor", cursor),
        ("receipt_token", receipt_token),
        ("message", message),
        ("parameters", parameters),
    ];

    /// Inputs that are made of each kept one.
    const NEAR: u64 = 150;

    /// What is put into inputs.
    const PIECES: [&[u8]; 36] = [
        b"{",
        b"}",
        b"[",
        b"]",
        b"(",
        b")",
        b"\"",
        b"\"\"\"",
        b"\\\"\"\"",
        b"\\",
        b"\\u",
        b"#",
        b"\n",
        b"\r",
        b",",
        b":",
        b"$v",
        b"...",
        b"... on Query",
        b"@skip(if: true)",
        b"null",
        b"-0",
        b"1e9",
        b"2147483648",
        b"true",
        b"\xef\xbb\xbf",
        b"\xed\xa0\xbd",
        b"\\ud83c",
        b"\\udf55",
        b"\\u{1F355}",
        b"\0",
        b"\xff",
        b"\x81\xfe",
        b"query",
        b"fragment f on Query",
        b"__typename",
    ];

    fn kept(target: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
        let mut paths: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.iter().map(|path| fs::read(path).unwrap()).collect()
    }

    /// One change of an input.
    fn edit(bytes: &mut Vec<u8>, (kind, at, to, piece): (u8, usize, usize, usize), other: &[u8]) {
        let (at, to) = (at % (bytes.len() + 1), to % (bytes.len() + 1));
        let (begin, end) = (at.min(to), at.max(to));
        match kind {
            0 => drop(bytes.splice(at..at, PIECES[piece % PIECES.len()].iter().copied())),
            1 => drop(bytes.drain(begin..end.min(begin + 16))),
            2 => {
                let copy = bytes[begin..end].repeat(1 + piece % 4);
                drop(bytes.splice(at..at, copy));
            }
            3 if at < bytes.len() => bytes[at] ^= 1 << (piece % 8),
            4 => {
                let cut = piece % (other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[cut..]);
            }
            _ => bytes.truncate(end),
        }
        bytes.truncate(4_096);
    }

    fn run(target: Target, rng: TestRng, until: impl Fn(u64) -> bool) -> u64 {
        let (name, check) = target;
        let kept = kept(name);
        assert!(kept.len() > 2, "{name} has too little of a corpus");
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let edits = prop::collection::vec((0..6u8, any::<[usize; 3]>()), 1..6);
        let mut done = 0;
        while !until(done) {
            let mut bytes = kept[done as usize % kept.len()].clone();
            if done >= kept.len() as u64 {
                let edits = edits.new_tree(&mut runner).unwrap().current();
                for (kind, [at, to, piece]) in edits {
                    edit(&mut bytes, (kind, at, to, piece), &kept[at % kept.len()]);
                }
            }
            let outcome = std::panic::catch_unwind(|| check(&bytes));
            assert!(outcome.is_ok(), "{name}: {}", bytes.escape_ascii());
            done += 1;
        }
        done
    }

    /// As many as are quickly done; with the environment's COMANDA_FUZZ_SECONDS, so long on each
    /// target, and others each time.
    #[test]
    fn whatever_is_near_the_kept_inputs_is_taken_or_refused_in_order() {
        let seconds = std::env::var("COMANDA_FUZZ_SECONDS").ok();
        let seconds = seconds.map(|seconds| seconds.parse().expect("a number of seconds"));
        for target in TARGETS {
            let Some(seconds) = seconds else {
                let most = kept(target.0).len() as u64 * NEAR;
                let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
                run(target, rng, |done| done >= most);
                continue;
            };
            let until = Instant::now() + Duration::from_secs(seconds);
            let seed: [u8; 32] = rand::random();
            let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
            let done = run(target, rng, |_| Instant::now() >= until);
            println!("{}: {done} inputs", target.0);
        }
    }
}
