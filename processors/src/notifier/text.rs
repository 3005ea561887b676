//! Text of strangers made harmless for subjects, plain text and, once escaped, HTML.

/// What replaces the end of a text that is too long.
const ELLIPSIS: char = '…';

/// `text` on one line of at most `max` characters: line breaks, tabs and other control characters
/// become spaces, runs of spaces one; what is invisible or turns the direction of writing is left
/// out.
pub(super) fn line(text: &str, max: usize) -> String {
    let mut out = String::new();
    let mut left = max;
    let mut gap = false;
    for c in text.chars().filter(|c| !is_hidden(*c)) {
        if c.is_control() || c.is_whitespace() {
            gap = !out.is_empty();
            continue;
        }
        if left <= usize::from(gap) {
            if left == 0 {
                out.pop();
            }
            out.truncate(out.trim_end().len());
            out.push(ELLIPSIS);
            break;
        }
        if gap {
            out.push(' ');
            left -= 1;
            gap = false;
        }
        out.push(c);
        left -= 1;
    }
    out
}

/// Format characters that are not seen, or that make text look like another (Unicode's
/// `Bidi_Control` and `Default_Ignorable_Code_Point`, variation selectors and fillers included).
pub(super) fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}'
        | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}'
        | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{E0000}'..='\u{E0FFF}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn line_breaks_become_spaces() {
        assert_eq!(line("x\r\nBcc: evil@e.invalid", 60), "x Bcc: evil@e.invalid");
        assert_eq!(line("\u{2028} a\t\u{85} b\u{0}c\u{1b}[2J \n", 60), "a b c [2J");
    }

    #[test]
    fn direction_overrides_and_invisible_characters_are_left_out() {
        assert_eq!(line("ab\u{202E}cd\u{2066}e\u{200B}f\u{FEFF}", 60), "abcdef");
        assert_eq!(line("\u{200F}\u{2069}\u{61C}\u{E0041}", 60), "");
    }

    #[test]
    fn long_text_ends_in_an_ellipsis() {
        assert_eq!(line("12345", 5), "12345");
        assert_eq!(line("123456", 5), "1234…");
        assert_eq!(line("123 456", 5), "123…");
        assert_eq!(line("1234 56", 5), "1234…");
        assert_eq!(line("ééééé   ", 5), "ééééé");
    }

    #[test]
    fn ordinary_names_stay_as_they_are() {
        for name in ["Zoë O'Brien-Ruiz", "李小龍", "محمد", "Crème brûlée", "Ḋị 🍕"]
        {
            assert_eq!(line(name, 60), name);
        }
    }

    proptest! {
        #[test]
        fn a_line_is_one_line_within_its_limit(text in any::<String>(), max in 1usize..40) {
            let line = line(&text, max);
            prop_assert!(line.chars().count() <= max, "{line:?}");
            prop_assert!(!line.chars().any(|c| c.is_control() || is_hidden(c)), "{line:?}");
            prop_assert_eq!(line.trim(), &line);
        }
    }
}
