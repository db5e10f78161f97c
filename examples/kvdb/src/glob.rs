//! Patterns of keys as in Redis: `*`, `?`, `[abc]`, `[^abc]`, `[a-z]` and `\` before a character that is meant as
//! it is.

/// Whether the whole text is as the pattern says.
///
/// At most pattern × text steps: after a mismatch only the last `*` takes one byte more, since what the ones before
/// it could take instead it can take too.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    loop {
        if let Some(b'*') = pattern.get(p) {
            p += 1;
            star = Some((p, t));
            continue;
        }
        match (pattern.get(p), text.get(t)) {
            (None, None) => return true,
            (Some(_), Some(&byte)) => {
                let (length, matched) = one(&pattern[p..], byte);
                if matched {
                    p += length;
                    t += 1;
                    continue;
                }
            }
            _ => {}
        }
        match star {
            Some((after, from)) if from < text.len() => {
                (p, t) = (after, from + 1);
                star = Some((p, t));
            }
            _ => return false,
        }
    }
}

/// How long the element at the start of the pattern is, and whether it matches the byte.
fn one(pattern: &[u8], byte: u8) -> (usize, bool) {
    match *pattern {
        [b'?', ..] => (1, true),
        [b'[', ..] => class(pattern, byte),
        [b'\\', escaped, ..] => (2, escaped == byte),
        [literal, ..] => (1, literal == byte),
        [] => (0, false),
    }
}

/// As [`one`], for a `[...]`; without its end it goes to the end of the pattern, as in Redis.
fn class(pattern: &[u8], byte: u8) -> (usize, bool) {
    let negated = pattern.get(1) == Some(&b'^');
    let mut at = 1 + usize::from(negated);
    let mut found = false;
    loop {
        match pattern[at..] {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', escaped, ..] => {
                found |= escaped == byte;
                at += 2;
            }
            [from, b'-', to, ..] => {
                found |= (from.min(to)..=from.max(to)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                found |= literal == byte;
                at += 1;
            }
        }
    }
    (at, found != negated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_redis_patterns() {
        for (pattern, text, want) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "abc", true),
            ("**", "abc", true),
            ("a*c", "abc", true),
            ("a*c", "abcd", false),
            ("a*b*c", "aXbYbc", true),
            ("*ab", "aab", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h[a-c]llo", "hdllo", false),
            ("[]a", "a", false),
            ("a[b", "ab", true),
            ("[", "[", false),
            ("[^", "a", true),
            ("[a-]", "-", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("\\", "\\", true),
            ("[\\]]", "]", true),
            ("user:*:name", "user:1:name", true),
            ("user:*:name", "user:1:mail", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), want, "{pattern:?} {text:?}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = "a*".repeat(200) + "b";
        assert!(!matches(pattern.as_bytes(), &[b'a'; 10_000]));
    }
}
