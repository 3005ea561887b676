//! Text of strangers made harmless for subjects, plain text and, once escaped, HTML.

/// What replaces the end of a text that is too long.
const ELLIPSIS: char = '…';

/// `text` on one line of at most `max` characters: line breaks, tabs and other control characters
/// become spaces, runs of spaces one; what is invisible or turns the direction of writing is left
/// out, but for joiners and variation selectors where scripts and emoji need them.
pub(super) fn line(text: &str, max: usize) -> String {
    let shown: Vec<char> = text.chars().filter(|c| !is_hidden(*c) || is_joint(*c)).collect();
    let mut out = String::new();
    let mut left = max;
    let mut gap = false;
    for (at, &c) in shown.iter().enumerate() {
        if c.is_control() || c.is_whitespace() {
            gap = !out.is_empty();
            continue;
        }
        let before = out.chars().next_back().filter(|_| !gap);
        if is_joint(c) && !belongs(before, c, shown.get(at + 1).copied()) {
            continue;
        }
        if left <= usize::from(gap) {
            if left == 0 {
                out.pop();
            }
            out.truncate(out.trim_end_matches(|c: char| c.is_whitespace() || is_joint(c)).len());
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

/// Zero-width joiners and non-joiners, with which Persian, Sinhala and emoji are written, and
/// variation selectors, which choose among the forms of one character.
fn is_joint(c: char) -> bool {
    is_joiner(c) || is_selector(c)
}

fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200C}' | '\u{200D}')
}

fn is_selector(c: char) -> bool {
    matches!(c, '\u{180B}'..='\u{180D}' | '\u{FE00}'..='\u{FE0F}' | '\u{E0100}'..='\u{E01EF}')
}

/// Whether `joint` changes how its neighbours look. Latin letters have no use for one.
fn belongs(before: Option<char>, joint: char, after: Option<char>) -> bool {
    let is_written = |c: char| !c.is_ascii() && !c.is_control() && !c.is_whitespace();
    let Some(before) = before.filter(|c| !is_joiner(*c)) else { return false };
    if is_selector(joint) {
        // Digits, # and * are made keys of by one.
        let is_key = before.is_ascii_digit() || matches!(before, '#' | '*');
        return !is_selector(before) && (is_written(before) || is_key);
    }
    is_written(before) && after.is_some_and(|c| is_written(c) && !is_joint(c))
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
    fn joiners_and_selectors_stay_where_scripts_and_emoji_need_them() {
        for name in [
            "می\u{200C}خواهم",
            "ශ්\u{200D}රී",
            "क्\u{200D}ष",
            "葛\u{E0100}城",
            "辻\u{FE00}",
            "❤\u{FE0F}\u{200D}🔥",
            "👩🏽\u{200D}🍳",
            "1\u{FE0F}\u{20E3}",
        ] {
            assert_eq!(line(name, 60), name);
            assert_eq!(line(&format!("\u{202E}{name}\u{2066}"), 60), name, "without bidi controls");
        }
        assert_eq!(line("pay\u{200D}pal\u{200C} \u{FE0F}a\u{FE0F}", 60), "paypal a");
        assert_eq!(line("م\u{200C}\u{200C}\u{200D} ی\u{200C}", 60), "م ی");
        assert_eq!(line("\u{200D}\u{FE0F}", 60), "");
        assert_eq!(line("❤\u{FE0F}❤\u{FE0F}❤\u{FE0F}", 4), "❤\u{FE0F}❤…");
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
            prop_assert!(!line.chars().any(|c| c.is_control() || (is_hidden(c) && !is_joint(c))), "{line:?}");
            prop_assert_eq!(line.trim(), &line);
        }
    }
}
