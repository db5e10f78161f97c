//! Redis' glob patterns: `*`, `?`, `[a-z]`, `[^a]`, and `\` before a character that is meant for itself.
//!
//! A failed match goes back to the last `*` only, so no pattern takes more than pattern times text.

/// Whether all of `text` matches, without regard to case.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
            continue;
        }
        if let Some(next) = one(pattern, p, text[t]) {
            p = next;
            t += 1;
            continue;
        }
        match star {
            Some((star_p, star_t)) => {
                p = star_p + 1;
                t = star_t + 1;
                star = Some((star_p, t));
            }
            None => return false,
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// Where the pattern goes on if its element at `p` matches `byte`.
fn one(pattern: &[u8], p: usize, byte: u8) -> Option<usize> {
    let byte = byte.to_ascii_lowercase();
    match *pattern.get(p)? {
        b'?' => Some(p + 1),
        b'[' => class(pattern, p + 1, byte),
        b'\\' if p + 1 < pattern.len() => (pattern[p + 1].to_ascii_lowercase() == byte).then_some(p + 2),
        literal => (literal.to_ascii_lowercase() == byte).then_some(p + 1),
    }
}

/// A class that is never closed reaches to the end of the pattern, as in Redis.
fn class(pattern: &[u8], mut p: usize, byte: u8) -> Option<usize> {
    let negated = pattern.get(p) == Some(&b'^');
    p += usize::from(negated);
    let mut found = false;
    loop {
        match pattern.get(p) {
            None => break,
            Some(b']') => {
                p += 1;
                break;
            }
            Some(b'\\') if p + 1 < pattern.len() => {
                found |= pattern[p + 1].to_ascii_lowercase() == byte;
                p += 2;
            }
            Some(&low) if pattern.get(p + 1) == Some(&b'-') && p + 2 < pattern.len() => {
                let (low, high) = (low.to_ascii_lowercase(), pattern[p + 2].to_ascii_lowercase());
                found |= (low.min(high)..=low.max(high)).contains(&byte);
                p += 3;
            }
            Some(&literal) => {
                found |= literal.to_ascii_lowercase() == byte;
                p += 1;
            }
        }
    }
    (found != negated).then_some(p)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn matches_as_redis_does() {
        let table = [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a", "A", true),
            ("a*c", "abbbc", true),
            ("a*c", "abbb", false),
            ("*_index", "applied_index", true),
            ("h?llo", "hallo", true),
            ("h[ae]llo", "hello", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h\\*", "h*", true),
            ("h\\*", "hx", false),
            ("[abc", "a", true),
            ("a**b", "ab", true),
            ("?", "", false),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    /// Takes for ever in a matcher that tries every star again.
    #[test]
    fn a_hostile_pattern_is_quick() {
        assert!(!matches(format!("{}b", "*a".repeat(60)).as_bytes(), "a".repeat(5000).as_bytes()));
    }
}
