//! The form of what the tool prints: what stays the same when it is printed again. Of the tests on the running kernel, too.

/// The words of an output, without numbers, addresses and times, and however lines break.
pub fn form(text: &str) -> String {
    let words: Vec<String> = text.split_whitespace().map(masked).collect();
    words.join(" ").replace("namespaces", "namespace")
}

fn masked(word: &str) -> String {
    let is_cookie = word.len() >= 4 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !word.contains(|c: char| c.is_ascii_digit()) {
        return if word.contains("##") { "#".to_owned() } else { word.to_owned() };
    }
    if is_cookie {
        return "N".to_owned();
    }
    let mut form = String::new();
    let mut rest = word.trim_start_matches(['>', '<', '~']);
    while let Some(first) = rest.chars().next() {
        if !first.is_ascii_digit() {
            form.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        // A comma that no digit follows is the sentence's.
        let mut chars = rest.char_indices().peekable();
        let mut end = 0;
        while let Some((at, c)) = chars.next() {
            let joins = ".,:+-T".contains(c) && chars.peek().is_some_and(|(_, next)| next.is_ascii_digit());
            if !c.is_ascii_digit() && !joins {
                break;
            }
            end = at + 1;
        }
        rest = &rest[end..];
        form.push('N');
        let unit = rest.find(|c: char| !c.is_ascii_alphabetic() && c != '%').unwrap_or(rest.len());
        if ["ns", "us", "ms", "s", "m", "h", "%"].contains(&&rest[..unit]) {
            rest = &rest[unit..];
        }
    }
    form
}
