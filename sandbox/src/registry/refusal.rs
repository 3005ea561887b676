use http::StatusCode;

/// Why a request was refused, with Confluent's error code.
#[derive(Debug, PartialEq)]
pub(super) struct Refusal {
    /// The status, or the status and two more digits.
    pub code: u32,
    pub message: String,
}

impl Refusal {
    pub fn new(code: u32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub fn status(&self) -> StatusCode {
        let leading = if self.code < 1000 { self.code } else { self.code / 100 };
        u16::try_from(leading)
            .ok()
            .and_then(|status| StatusCode::from_u16(status).ok())
            .expect("codes start with a status")
    }

    pub fn no_subject(subject: &str) -> Self {
        Self::new(40401, format!("Subject '{subject}' not found."))
    }

    pub fn no_version(version: impl std::fmt::Display) -> Self {
        Self::new(40402, format!("Version {version} not found."))
    }

    pub fn no_schema() -> Self {
        Self::new(40403, "Schema not found")
    }

    pub fn invalid_schema(why: impl std::fmt::Display) -> Self {
        Self::new(42201, format!("Invalid schema: {why}"))
    }

    pub fn full(what: &str) -> Self {
        Self::new(50001, format!("This in-memory registry holds no more {what}"))
    }
}
