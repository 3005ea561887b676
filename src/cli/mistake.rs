//! Mistakes on the command line, told without the values of settings: each may be a secret.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Error, Parser};
use comanda_schemas::url_without_login;

use super::Cli;

/// What stands in the place of a value.
const MASK: &str = "…";

/// The command line, or what is wrong with it.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, Error> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    Cli::try_parse_from(&arguments).map_err(|error| {
        let is_about_use = !matches!(
            error.kind(),
            ErrorKind::DisplayHelp
                | ErrorKind::DisplayVersion
                | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        );
        if is_about_use && has_set_without_value(&arguments) {
            let message = "--set takes SECTION.KEY=VALUE as one argument, and one has no =";
            return Cli::command().error(ErrorKind::InvalidValue, message);
        }
        without_values(error)
    })
}

/// Whether a `--set` stands without a `=`: its value follows, where clap takes it for a command.
fn has_set_without_value(arguments: &[OsString]) -> bool {
    let has_none = |set: &[u8]| !set.contains(&b'=');
    let mut all = arguments.iter().skip(1).map(|argument| argument.as_encoded_bytes());
    while let Some(argument) = all.next() {
        let set = match argument {
            b"--" => return false,
            b"--set" => all.next(),
            other => other.strip_prefix(b"--set="),
        };
        if set.is_some_and(has_none) {
            return true;
        }
    }
    false
}

fn without_values(mut error: Error) -> Error {
    let kinds =
        [ContextKind::InvalidArg, ContextKind::InvalidSubcommand, ContextKind::InvalidValue];
    for kind in kinds {
        if let Some(ContextValue::String(text)) = error.get(kind) {
            let shown = without_value(text);
            error.insert(kind, ContextValue::String(shown));
        }
    }
    // It shows what to put in front of an argument that it repeats.
    error.remove(ContextKind::Suggested);
    error
}

/// `KEY=…` for `KEY=VALUE`, and a URL without its login.
fn without_value(text: &str) -> String {
    match text.split_once('=') {
        // Clap's own name of an argument, such as `--set <SECTION.KEY=VALUE>`.
        Some(_) if text.contains(" <") => text.to_owned(),
        Some((key, _)) => format!("{key}={MASK}"),
        None => url_without_login(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(arguments: &[&str]) -> String {
        let arguments = ["comanda"].iter().chain(arguments).map(OsString::from);
        parse(arguments).unwrap_err().to_string()
    }

    #[test]
    fn a_mistake_does_not_repeat_the_value_of_a_setting() {
        for arguments in [
            &["--sett", "kafka.sasl_password=hunter2"][..],
            &["--sett=kafka.sasl_password=hunter2"],
            &["kafka.sasl_password=hunter2"],
            &["--set", "kafka.sasl_password", "hunter2"],
            &["--set=kafka.sasl_password", "hunter2", "gateway"],
            &["config", "check", "kafka.sasl_password=hunter2"],
            &["run", "kafka.sasl_password=hunter2"],
            &["gateway", "http://user:hunter2@registry:8081"],
            &["--registri=http://user:hunter2@registry:8081"],
            &["up", "--kafka.sasl_password=hunter2"],
        ] {
            let told = told(arguments);
            assert!(!told.contains("hunter2"), "{arguments:?}: {told}");
            assert!(told.starts_with("error: "), "{arguments:?}: {told}");
        }
    }

    #[test]
    fn a_mistake_names_what_it_is_about() {
        assert!(told(&["gatewy"]).contains("'gateway'"), "{}", told(&["gatewy"]));
        assert!(told(&["--sett=a"]).contains("'--sett'"));
        assert!(told(&["run", "cook"]).contains("'cook'"));
        assert!(told(&["--help"]).contains("Usage"));
    }
}
