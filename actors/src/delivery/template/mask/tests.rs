use super::*;
use base64::{Engine as _, engine::general_purpose};
use proptest::prelude::*;

fn masked(text: &str) -> String {
    let masker = Masker::new(["s3cret/\"value\"", "abc", "0123456789abcdef"]);
    String::from_utf8(masker.mask(text.as_bytes())).unwrap()
}

/// SEC.1, SEC.6
#[test]
fn secrets_are_masked_in_every_form() {
    assert_eq!(masked("you sent s3cret/\"value\", thanks"), "you sent ***, thanks");
    assert_eq!(masked(r#"{"h":"s3cret/\"value\""}"#), r#"{"h":"***"}"#);
    assert_eq!(masked(r#"{"h":"s3cret\/\"value\""}"#), r#"{"h":"***"}"#);
    assert_eq!(masked("k=s3cret%2F%22value%22"), "k=***");
    assert_eq!(masked("czNjcmV0LyJ2YWx1ZSI="), "***=");
    assert_eq!(masked(&hex::encode_upper("s3cret/\"value\"")), "***");
    assert_eq!(masked("0123456789abcdef0123456789abcdef"), "******");
    assert_eq!(masked("abc and nothing else"), "abc and nothing else");
}

/// I28, SEC.1: what nobody writes by chance.
#[test]
fn secrets_are_masked_in_unusual_forms() {
    let secret = "s3cret/\"value\"";
    assert_eq!(masked(&secret.chars().rev().collect::<String>()), "***");
    let all = |each: fn(u8) -> String| secret.bytes().map(each).collect::<String>();
    assert_eq!(masked(&all(|byte| format!("%{byte:02X}"))), "***");
    assert_eq!(masked(&all(|byte| format!("%{byte:02x}"))), "***");
    assert_eq!(masked(&all(|byte| format!("\\u{byte:04x}"))), "***");
    assert_eq!(masked("s3cret%252F%2522value%2522"), "***");
    assert_eq!(masked("s3cret%252f%2522value%2522"), "***");
    for before in ["", "x", "xy", "xyz"] {
        for behind in ["", "x", "xy"] {
            let text = masked(&general_purpose::STANDARD.encode(format!("{before}{secret}{behind}")));
            assert!(text.contains("***") && text.len() < 14, "{before}…{behind}: {text}");
        }
    }
}

/// SEC.6, I28: what the libraries of browsers, Python and PHP make of a key in a URL or a form.
#[test]
fn secrets_are_masked_as_urls_and_forms_write_them() {
    let secret = "p@ss!word/canary+12345 (prod)*x~'é";
    let masker = Masker::new([secret]);
    for written in [
        "p%40ss!word%2Fcanary%2B12345%20(prod)*x~'%C3%A9", // encodeURIComponent
        "p@ss!word/canary+12345%20(prod)*x~'%C3%A9",       // encodeURI
        "p%40ss%21word%2Fcanary%2B12345+%28prod%29*x%7E%27%C3%A9", // URLSearchParams
        "p%40ss%21word/canary%2B12345%20%28prod%29%2Ax~%27%C3%A9", // urllib.parse.quote
        "p%40ss%21word%2Fcanary%2B12345+%28prod%29%2Ax~%27%C3%A9", // quote_plus
        "p%40ss%21word%2fcanary%2b12345+%28prod%29%2ax%7e%27%c3%a9", // urlencode, in small letters
        "p%40ss!word%2Fcanary%2B12345%20(prod)*x~'\\u00e9", // the first one in JSON that is ASCII
        "p@ss!word\\/canary+12345 (prod)*x~'\\u00e9",
    ] {
        let text = format!("a=1&key={written}&b=%2F+%");
        let told = String::from_utf8(masker.mask(text.as_bytes())).unwrap();
        assert_eq!(told, "a=1&key=***&b=%2F+%", "{written}");
    }
    let generated = Masker::new(["whsec_MfKQ9r8/GKYqrTwj+UPD8ILPZ"]);
    assert_eq!(generated.mask(b"whsec_MfKQ9r8/GKYqrTwj%2BUPD8ILPZ=="), b"***==");
    assert_eq!(generated.mask(b"whsec_MfKQ9r8%2FGKYqrTwj UPD8ILPZ"), b"***");
}

/// A secret that looks escaped itself is found as it is, and as it is escaped.
#[test]
fn secrets_that_hold_escapes_are_masked() {
    let masker = Masker::new([r#"x%41"y\/z"#]);
    for written in [r#"x%41"y\/z"#, "x%2541%22y%5C%2Fz", r#"x%41\"y\\\/z"#, r#"x%2541\"y%5c\/z"#] {
        let told = masker.mask(format!("<{written}>").as_bytes());
        assert_eq!(String::from_utf8(told).unwrap(), "<***>", "{written}");
    }
}

/// SEC.6: an excerpt that ends within a secret.
#[test]
fn a_cut_secret_is_masked_too() {
    assert_eq!(masked("token 01234567"), "token ***");
    assert_eq!(masked("token 012"), "token 012");
    for end in
        ["s3cret", "s3cret%", "s3cret%2", "s3cret%2F", "s3cret%25", "s3cret%252", "s3cret\\", "s3cret\\u00"]
    {
        assert_eq!(masked(&format!("token {end}")), "token ***", "{end}");
    }
    assert_eq!(masked("100 %"), "100 %");
    assert_eq!(Masker::default().mask(b"text"), b"text");
}

/// One byte of a text, in one of the ways in which it may be written.
fn written(byte: u8, way: u8) -> String {
    match way % 6 {
        0 => format!("%{byte:02X}"),
        1 => format!("%{byte:02x}"),
        2 => format!("%25{byte:02x}"),
        3 if byte == b' ' => "+".to_owned(),
        _ => char::from(byte).to_string(),
    }
}

proptest! {
    /// SEC.6: any mixture of percent-escapes, anywhere in a text, and the text around it as it was.
    #[test]
    fn a_mixture_of_escapes_is_masked(
        secret in "[ !#-$&-~]{4,40}",
        ways in prop::collection::vec(any::<u8>(), 40),
        before in "[g-k<>%]{0,8}=",
        behind in "(&[g-k<>]{0,8})?",
    ) {
        let text: String = secret.bytes().zip(ways).map(|(byte, way)| written(byte, way)).collect();
        let told = Masker::new([&secret]).mask(format!("{before}{text}{behind}").as_bytes());
        let told = String::from_utf8(told).unwrap();
        prop_assert!(told.starts_with(&before) && told.ends_with(&behind) && told.contains("***"), "{}", told);
        prop_assert!(!told.contains(&secret) && !told.contains(&text));
    }

    /// Whatever a receiver writes: no panic, and nothing is lost where there is no secret.
    #[test]
    fn any_text_comes_through(text in prop::collection::vec(prop::sample::select(b"%\\u+25cCdD8\"n \xc3".to_vec()), 0..60)) {
        prop_assert_eq!(Masker::new(["never-in-there"]).mask(&text), text.clone());
        drop(Masker::new(["%5c\\u00", "25%2", "\\\\\\\\"]).mask(&text));
    }
}
