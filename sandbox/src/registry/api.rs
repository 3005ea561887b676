//! Confluent's paths, bodies and error codes.

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Handle;
use super::compat::Level;
use super::refusal::Refusal;
use super::schema::Parsed;
use super::state::{Place, State, Wanted};
use crate::server::{self, Request};

const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";
const MAX_SUBJECT_BYTES: usize = 1024;

#[derive(Deserialize)]
struct SchemaBody {
    schema: Option<String>,
    #[serde(rename = "schemaType")]
    schema_type: Option<String>,
    #[serde(default)]
    references: Option<Vec<Value>>,
}

#[derive(Deserialize)]
struct LevelBody {
    compatibility: Option<String>,
}

pub(super) fn answer(handle: &Handle, request: &Request) -> Response<Bytes> {
    match route(handle, request) {
        Ok(body) => server::json(StatusCode::OK, CONTENT_TYPE, &body),
        Err(refusal) => {
            let body = json!({ "error_code": refusal.code, "message": refusal.message });
            server::json(refusal.status(), CONTENT_TYPE, &body)
        }
    }
}

fn route(handle: &Handle, request: &Request) -> Result<Value, Refusal> {
    let path: Vec<_> = request.path.iter().map(String::as_str).collect();
    let flag = |name| request.param(name) == Some("true");
    let deleted = flag("deleted");
    let permanent = flag("permanent");
    let state = || handle.state();
    match (request.method.as_str(), path.as_slice()) {
        ("GET", []) => Ok(json!({})),

        ("GET", ["subjects"]) => {
            Ok(json!(state().subjects(request.param("subjectPrefix").unwrap_or(""), deleted)))
        }
        ("POST", ["subjects", subject]) => {
            let schema = schema(request)?;
            let state = state();
            found(&state, &state.lookup(subject, &schema, deleted)?)
        }
        ("DELETE", ["subjects", subject]) => Ok(json!(state().delete_subject(subject, permanent)?)),
        ("GET", ["subjects", subject, "versions"]) => {
            Ok(json!(state().versions(subject, deleted)?))
        }
        ("POST", ["subjects", subject, "versions"]) => {
            if subject.len() > MAX_SUBJECT_BYTES {
                return Err(Refusal::new(42208, "Subject name is too long"));
            }
            let schema = schema(request)?;
            let id = state().register(subject, schema)?;
            Ok(json!({ "id": id }))
        }
        ("GET", ["subjects", subject, "versions", version]) => {
            let state = state();
            found(&state, &state.place(subject, wanted(version)?, deleted)?)
        }
        ("GET", ["subjects", subject, "versions", version, "schema"]) => {
            let state = state();
            let place = state.place(subject, wanted(version)?, deleted)?;
            bare(&state, place.id)
        }
        ("DELETE", ["subjects", subject, "versions", version]) => {
            Ok(json!(state().delete_version(subject, wanted(version)?, permanent)?))
        }

        ("GET", ["schemas", "types"]) => Ok(json!(["AVRO"])),
        ("GET", ["schemas", "ids", id]) => {
            let state = state();
            let text = state.text(number(id)?).ok_or_else(Refusal::no_schema)?;
            Ok(json!({ "schema": text }))
        }
        ("GET", ["schemas", "ids", id, "schema"]) => bare(&state(), number(id)?),
        ("GET", ["schemas", "ids", id, "versions"]) => {
            let places = state().places(number(id)?)?;
            let each = |p: Place| json!({ "subject": p.subject, "version": p.version });
            Ok(places.into_iter().map(each).collect())
        }
        ("GET", ["schemas", "ids", id, "subjects"]) => {
            let mut names: Vec<_> =
                state().places(number(id)?)?.into_iter().map(|place| place.subject).collect();
            names.dedup();
            Ok(json!(names))
        }

        ("POST", ["compatibility", "subjects", subject, "versions"]) => {
            compatible(handle, request, subject, None)
        }
        ("POST", ["compatibility", "subjects", subject, "versions", version]) => {
            compatible(handle, request, subject, Some(wanted(version)?))
        }

        ("GET", ["config"]) => Ok(effective(state().global_level())),
        ("PUT", ["config"]) => {
            let level = level(request)?;
            state().set_global_level(level);
            Ok(json!({ "compatibility": level.as_str() }))
        }
        ("GET", ["config", subject]) => {
            let state = state();
            let global = flag("defaultToGlobal").then(|| state.global_level());
            let level = state.level(subject).or(global).ok_or_else(|| {
                let message = format!("Subject '{subject}' has no compatibility level of its own");
                Refusal::new(40408, message)
            })?;
            Ok(effective(level))
        }
        ("PUT", ["config", subject]) => {
            let level = level(request)?;
            state().set_level(subject, level)?;
            Ok(json!({ "compatibility": level.as_str() }))
        }
        ("DELETE", ["config", subject]) => Ok(effective(state().remove_level(subject)?)),
        ("GET", ["mode"]) => Ok(json!({ "mode": "READWRITE" })),

        (_, []) | (_, ["subjects" | "schemas" | "config" | "mode" | "compatibility", ..])
            if !is_read(&request.method) =>
        {
            Err(Refusal::new(405, "HTTP 405 Method Not Allowed"))
        }
        _ => Err(Refusal::new(404, "HTTP 404 Not Found")),
    }
}

fn is_read(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

fn compatible(
    handle: &Handle,
    request: &Request,
    subject: &str,
    beside: Option<Wanted>,
) -> Result<Value, Refusal> {
    let schema = schema(request)?;
    let problems = handle.state().problems(subject, beside, &schema)?;
    let mut body = json!({ "is_compatible": problems.is_empty() });
    if request.param("verbose") == Some("true") {
        body["messages"] = json!(problems);
    }
    Ok(body)
}

fn effective(level: Level) -> Value {
    json!({ "compatibilityLevel": level.as_str() })
}

fn found(state: &State, place: &Place) -> Result<Value, Refusal> {
    let text = state.text(place.id).ok_or_else(Refusal::no_schema)?;
    let Place { subject, version, id } = place;
    Ok(json!({ "subject": subject, "version": version, "id": id, "schema": text }))
}

/// The schema itself as the answer, not as a string in it.
fn bare(state: &State, id: u32) -> Result<Value, Refusal> {
    let text = state.text(id).ok_or_else(Refusal::no_schema)?;
    Ok(serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.trim())))
}

fn number(id: &str) -> Result<u32, Refusal> {
    id.parse().map_err(|_| Refusal::new(404, "HTTP 404 Not Found"))
}

fn wanted(version: &str) -> Result<Wanted, Refusal> {
    match version {
        "latest" | "-1" => Ok(Wanted::Latest),
        _ => match version.parse() {
            Ok(number @ 1..) => Ok(Wanted::Number(number)),
            _ => Err(Refusal::new(42202, format!("'{version}' is not a version"))),
        },
    }
}

fn schema(request: &Request) -> Result<Parsed, Refusal> {
    let body: SchemaBody = body(request)?;
    if let Some(other) = body.schema_type.filter(|kind| kind != "AVRO") {
        return Err(Refusal::new(422, format!("Only AVRO schemas are kept here, not {other}")));
    }
    if body.references.is_some_and(|references| !references.is_empty()) {
        return Err(Refusal::invalid_schema("references to other subjects are not kept here"));
    }
    Parsed::new(&body.schema.ok_or_else(|| Refusal::invalid_schema("there is none"))?)
}

fn level(request: &Request) -> Result<Level, Refusal> {
    let body: LevelBody = body(request)?;
    let level = body.compatibility.and_then(|name| name.parse().ok());
    level.ok_or_else(|| {
        Refusal::new(42203, "compatibility is NONE, BACKWARD, FORWARD, FULL or …_TRANSITIVE")
    })
}

fn body<T: for<'de> Deserialize<'de>>(request: &Request) -> Result<T, Refusal> {
    let kind = request.header("content-type").unwrap_or("application/json");
    let kind = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let known = kind == "application/json" || kind.starts_with("application/vnd.schemaregistry");
    if !known && kind != "application/octet-stream" {
        return Err(Refusal::new(415, "HTTP 415 Unsupported Media Type"));
    }
    serde_json::from_slice(&request.body).map_err(|error| Refusal::new(400, error.to_string()))
}
