use std::error::Error as _;

use tempfile::TempDir;

use super::super::{Error, preview};
use super::mails::mail_with;
use super::*;

/// A folder of templates, and options that use it.
fn folder(files: &[(&str, &str)]) -> (TempDir, Options) {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let options = Options { templates: folder.path().into(), ..options("http://localhost") };
    (folder, options)
}

fn refusal(files: &[(&str, &str)]) -> (String, String) {
    let (_folder, options) = folder(files);
    let error = Notifier::new(options).unwrap_err();
    let source = error.source().map(ToString::to_string).unwrap_or_default();
    (error.to_string(), source)
}

#[test]
fn a_folder_overrides_what_it_has_and_nothing_else() {
    let (_folder, options) = folder(&[
        ("mail.subject", "[{{ number }}] {{ heading }}"),
        ("payment_failed.subject", "Oh no: {{ reason }}"),
        ("payment_failed.txt", "{% include '_who.txt' %} owes {{ total }}"),
        ("_who.txt", "{{ name }}"),
        (".hidden", "{{ nonsense }}"),
    ]);
    let paid = mail_with(&options, &event(PaymentEventType::Succeeded));
    assert_eq!(paid.subject, "[48FE1C36] Thank you, your order is confirmed");
    assert!(paid.text.contains("Total: 27.50 EUR"), "the built-in one: {}", paid.text);
    let failed = mail_with(&options, &failed(FailureReason::Declined, "expired_card"));
    assert_eq!(failed.subject, "Oh no: DECLINED");
    assert_eq!(failed.text, "Ana Ruiz owes 27.50 EUR");
    assert!(failed.html.contains("the card has expired"), "the built-in one: {}", failed.html);
}

#[test]
fn a_template_can_extend_the_built_in_one() {
    let html = "{% extends 'builtin/mail.html' %}{% block footer %}<p>Via Roma 1</p>{% endblock %}";
    let (_folder, options) = folder(&[("mail.html", html)]);
    let mail = mail_with(&options, &event(PaymentEventType::Succeeded));
    assert!(mail.html.contains("<p>Via Roma 1</p>") && mail.html.contains("Pizza Margherita"));
    assert!(!mail.html.contains("Full order number"), "{}", mail.html);
}

#[test]
fn own_templates_are_as_safe_as_the_built_in_ones() {
    let (_folder, options) = folder(&[
        ("mail.subject", "{{ name }}\r\nBcc: a@e.invalid"),
        ("mail.html", "<b title=\"{{ name }}\">{{ note }}</b>"),
    ]);
    let mut event = event(PaymentEventType::Succeeded);
    event.order.contact.name = "x\r\nBcc: evil@e.invalid \u{202E}\" onclick=\"y".into();
    event.order.note = Some("<script>{{ name }}".into());
    let mail = mail_with(&options, &event);
    assert_eq!(mail.subject, "x Bcc: evil@e.invalid \" onclick=\"y Bcc: a@e.invalid");
    assert_eq!(
        mail.html,
        "<b title=\"x Bcc: evil@e.invalid &quot; onclick=&quot;y\">&lt;script&gt;{{ name }}</b>"
    );
}

#[test]
fn templates_that_can_not_work_are_refused_at_the_start() {
    let (error, source) = refusal(&[("payment_failed.html", "<p>\n{{ nmae }}")]);
    assert!(error.contains("the mail payment_failed"), "{error}");
    assert!(
        source.contains("undefined value") && source.contains("payment_failed.html:2"),
        "{source}"
    );
    let (error, source) = refusal(&[("mail.txt", "{% if %}")]);
    assert!(error.contains("mail.txt") && source.contains("syntax error"), "{error}: {source}");
    let (_, source) = refusal(&[("mail.txt", "{% include '/etc/passwd' %}")]);
    assert!(source.contains("template not found"), "{source}");
    for name in ["payment_faild.html", "mail.htm", "README", "mail"] {
        let (error, _) = refusal(&[(name, "")]);
        assert!(error.contains(name) && error.contains("is not a template"), "{error}");
    }
    let missing = Options { templates: "/nowhere/at/all".into(), ..options("http://localhost") };
    let error = Notifier::new(missing).unwrap_err();
    assert!(matches!(&error, Error::Unreadable { .. }), "{error}");
}

#[test]
fn a_preview_shows_every_kind_of_mail() {
    let (_folder, options) = folder(&[("mail.subject", "{{ kind }}")]);
    let previews = preview(&options).unwrap();
    for kind in [
        "payment_succeeded",
        "payment_failed",
        "order_cancelled",
        "payment_refunded",
        "change_rejected",
    ] {
        let found = previews.iter().find(|preview| preview.name == kind);
        let preview = found.unwrap_or_else(|| panic!("no {kind}"));
        assert_eq!(preview.subject, kind);
        assert!(
            preview.text.contains("Pizza Margherita") && preview.html.contains("Pizza Margherita")
        );
    }
    let mut names: Vec<_> = previews.iter().map(|preview| preview.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), previews.len(), "two of one name");
}
