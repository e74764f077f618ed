//! The egress table: every spelling we could think of, and how it is judged.

use super::{Blocked, EgressPolicy, EgressRule, EgressRuleError, UrlRejection, check_url};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

fn https_only() -> EgressPolicy {
    EgressPolicy::default()
}

fn with_http() -> EgressPolicy {
    EgressPolicy { allow_http: true, ..EgressPolicy::default() }
}

fn allowing(rules: &[&str]) -> EgressPolicy {
    EgressPolicy {
        allow: rules.iter().map(|rule| rule.parse().unwrap()).collect(),
        allow_http: true,
        ..EgressPolicy::default()
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[rustfmt::skip]
const PUBLIC: &[&str] = &[
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "93.184.216.34", "100.63.255.255", "100.128.0.0",
    "126.255.255.255", "128.0.0.0", "168.63.129.15", "169.253.255.255", "169.255.0.0", "172.15.255.255",
    "172.32.0.0", "191.255.255.255", "192.0.1.0", "192.0.3.0", "192.31.196.1", "192.52.193.1",
    "192.88.98.255", "192.88.100.0", "192.167.255.255", "192.169.0.0", "192.175.48.1", "198.17.255.255",
    "198.20.0.0", "198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0", "223.255.255.255",
    "2000::1", "2001:200::1", "2001:4860:4860::8888", "2001:db7:ffff::1", "2001:db9::1",
    "2606:4700:4700::1111", "2620:4f:8000::1", "2a00:1450:4001::200e", "3fff:1000::1", "3ffe::1",
    "::ffff:8.8.8.8", // mapped
    "64:ff9b::8.8.8.8", // NAT64
    "2001:ffff::1", "2003::1", // next to Teredo and 6to4
];

#[rustfmt::skip]
const NOT_PUBLIC: &[&str] = &[
    "0.0.0.0", "0.0.0.1", "0.255.255.255", "10.0.0.0", "10.1.2.3", "10.255.255.255", "100.64.0.0",
    "100.100.100.200", "100.127.255.255", "127.0.0.0", "127.0.0.1", "127.0.0.2", "127.255.255.255",
    "168.63.129.16", "169.254.0.0", "169.254.169.254", "169.254.255.255", "172.16.0.0", "172.31.255.255",
    "192.0.0.0", "192.0.0.9", "192.0.0.10", "192.0.0.170", "192.0.0.192", "192.0.0.255", "192.0.2.1",
    "192.88.99.1", "192.168.0.0", "192.168.255.255", "198.18.0.0", "198.19.255.255", "198.51.100.1",
    "203.0.113.1", "224.0.0.0", "224.0.0.1", "239.255.255.255", "240.0.0.0", "250.1.2.3", "255.255.255.254",
    "255.255.255.255", "::", "::1", "::2", "100::1", "100:0:0:1::1", "200::1", "1fff::1", "4000::1",
    "5f00::1", "8000::1", "fbff::1", "fc00::1", "fd00::1", "fd00:ec2::254", "fdff::1", "fe00::1", "fe80::1",
    "febf::1", "fec0::1", "feff::1", "ff00::1", "ff02::1", "ff0e::1", "2001::1", "2001:1::1", "2001:2::1",
    "2001:3::1", "2001:4:112::1", "2001:10::1", "2001:20::1", "2001:30::1", "2001:1ff::1", "2001:db8::1",
    "3fff::1", "3fff:fff::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:10.0.0.1",
    "::ffff:169.254.169.254", "::ffff:0.0.0.0", // mapped
    "::127.0.0.1", "::10.0.0.1", "::8.8.8.8", "::ffff:0:127.0.0.1", // compatible and translated: routed nowhere
    "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe", // NAT64 of private addresses
    "64:ff9b:1::8.8.8.8", "64:ff9b:1::127.0.0.1", "64:ff9b:0:0:1::8.8.8.8", // local NAT64, and next to NAT64
    "2002::", "2002:7f00:1::", "2002:a00:1::1", "2002:a9fe:a9fe::1", "2002:c0a8:101::", "2002:808:808::1",
    "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", // 6to4, of private addresses and public ones
    "2001::", "2001:0:7f00:1::f7f7:f7f7", "2001:0:808:808::80ff:fffe", "2001:0:808:808::f5ff:fffe",
    "2001:0:808:808::f7f7:f7f7", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", // Teredo
];

#[test]
fn only_globally_routable_unicast_may_be_dialled() {
    for text in PUBLIC {
        let ip: IpAddr = text.parse().unwrap();
        assert_eq!(https_only().check_address(SocketAddr::new(ip, 443)), Ok(()), "{text} is public");
    }
    for text in NOT_PUBLIC {
        let ip: IpAddr = text.parse().unwrap();
        assert_eq!(
            https_only().check_address(SocketAddr::new(ip, 443)),
            Err(Blocked),
            "{text} is not public"
        );
    }
}

/// URL.3: what the network's own translator turns into IPv4 is judged by that, wherever the prefix lies.
#[test]
fn addresses_under_the_networks_own_translator_are_judged_by_the_ipv4_address_in_them() {
    let prefixes = ["2a0b:c0:ff::/96", "64:ff9b:1:fffe::/96", "fd00:64::/48", "2a0b:c1::/32"];
    let policy = EgressPolicy {
        nat64: prefixes.iter().map(|text| text.parse().unwrap()).collect(),
        deny: vec!["9.9.9.9".parse().unwrap()],
        ..https_only()
    };
    for open in [
        "2a0b:c0:ff::8.8.8.8",
        "64:ff9b:1:fffe::8.8.8.8",
        "64:ff9b::8.8.8.8",
        "fd00:64:0:808:8:800::",
        "2a0b:c1:808:808::",
        "2a0b:c0:fe::1",
        "8.8.8.8",
    ] {
        let ip: IpAddr = open.parse().unwrap();
        assert_eq!(policy.check_address(SocketAddr::new(ip, 443)), Ok(()), "{open}");
    }
    for blocked in [
        "2a0b:c0:ff::10.0.0.1",
        "2a0b:c0:ff::127.0.0.1",
        "2a0b:c0:ff::169.254.169.254",
        "2a0b:c0:ff::1",
        "2a0b:c0:ff::9.9.9.9",
        "64:ff9b:1:fffe::10.0.0.1",
        "64:ff9b:1::8.8.8.8",
        "fd00:64:0:a00:0:100::",
        "fd00:64:0:808:108:800::",
        "fd00:65::1",
        "2a0b:c1:a00:1::",
        "2002:808:808::1",
    ] {
        let ip: IpAddr = blocked.parse().unwrap();
        assert_eq!(policy.check_address(SocketAddr::new(ip, 443)), Err(Blocked), "{blocked}");
        assert!(check_url(&format!("https://[{blocked}]/"), &policy).is_err(), "{blocked}");
    }
}

/// 6to4 and Teredo lead to whoever relays them; a rule opens them as it does all else, and what is denied stays so.
#[test]
fn a_rule_opens_six_to_four_and_teredo_but_for_what_is_denied_in_them() {
    let policy = EgressPolicy {
        deny: vec!["9.9.9.9".parse().unwrap()],
        ..allowing(&["2002::/16", "[2001::/32]:8443"])
    };
    for open in ["[2002:808:808::1]:443", "[2002:a00:1::1]:80", "[2001:0:808:808::f7f7:f7f7]:8443"] {
        assert_eq!(policy.check_address(address(open)), Ok(()), "{open}");
    }
    for blocked in
        ["[2002:909:909::1]:443", "[2001:0:808:808::f7f7:f7f7]:443", "[2001:0:808:808::f6f6:f6f6]:8443"]
    {
        assert_eq!(policy.check_address(address(blocked)), Err(Blocked), "{blocked}");
    }
}

#[test]
fn a_zone_makes_any_address_local() {
    let zoned = SocketAddrV6::new("2606:4700:4700::1111".parse().unwrap(), 443, 0, 2);
    assert_eq!(https_only().check_address(zoned.into()), Err(Blocked));
}

#[test]
fn url_9_ports_of_other_services_are_closed_on_public_addresses() {
    for port in [
        0, 1, 21, 22, 23, 25, 53, 110, 139, 445, 465, 587, 993, 1023, 2375, 3306, 5432, 6379, 9200, 11211,
        27017,
    ] {
        let target = SocketAddr::new("8.8.8.8".parse().unwrap(), port);
        assert_eq!(https_only().check_address(target), Err(Blocked), "port {port}");
    }
    for port in [80, 443, 1024, 3000, 4443, 5000, 8000, 8080, 8443, 9000, 65535] {
        let target = SocketAddr::new("8.8.8.8".parse().unwrap(), port);
        assert_eq!(https_only().check_address(target), Ok(()), "port {port}");
    }
    assert_eq!(allowing(&["8.8.8.8:25"]).check_address(address("8.8.8.8:25")), Ok(()));
    assert_eq!(allowing(&["8.8.8.8:25"]).check_address(address("8.8.8.8:22")), Err(Blocked));
}

#[test]
fn url_12_a_rule_opens_its_address_and_port_and_no_other() {
    let one = allowing(&["127.0.0.1/32:9000"]);
    assert_eq!(one.check_address(address("127.0.0.1:9000")), Ok(()));
    assert_eq!(one.check_address(address("[::ffff:127.0.0.1]:9000")), Ok(()), "the canonical address counts");
    for other in
        ["127.0.0.1:9001", "127.0.0.2:9000", "[::1]:9000", "[::127.0.0.1]:9000", "[64:ff9b::127.0.0.1]:9000"]
    {
        assert_eq!(one.check_address(address(other)), Err(Blocked), "{other}");
    }
    let network = allowing(&["10.0.0.0/8", "[fd00::/8]:8443"]);
    for inside in ["10.0.0.1:1", "10.255.255.255:65535", "[fd12::1]:8443"] {
        assert_eq!(network.check_address(address(inside)), Ok(()), "{inside}");
    }
    for outside in ["11.0.0.1:22", "9.255.255.255:22", "[fd12::1]:8444", "[fc00::1]:8443"] {
        assert_eq!(network.check_address(address(outside)), Err(Blocked), "{outside}");
    }
}

#[test]
fn rules_are_read_in_every_documented_form_and_print_back() {
    for (text, printed) in [
        ("127.0.0.1", "127.0.0.1/32"),
        ("127.0.0.1:9000", "127.0.0.1/32:9000"),
        ("127.0.0.1/8", "127.0.0.0/8"),
        ("10.0.0.0/8:443", "10.0.0.0/8:443"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::1", "::1/128"),
        ("[::1]", "::1/128"),
        ("[::1]:9000", "[::1/128]:9000"),
        ("fd00::/8", "fd00::/8"),
        ("[fd00::/8]:443", "[fd00::/8]:443"),
        ("::/0", "::/0"),
        ("::ffff:127.0.0.1", "127.0.0.1/32"),
        ("[::ffff:10.0.0.0/104]:80", "10.0.0.0/8:80"),
    ] {
        let rule: EgressRule = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(rule.to_string(), printed);
        assert_eq!(printed.parse::<EgressRule>(), Ok(rule), "{printed} reads back");
    }
    for text in [
        "",
        "localhost",
        "127.0.0.1:",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:+1",
        "127.0.0.1/33",
        "127.0.0.1/",
        "127.0.0.1/+8",
        "127.0.0.1/-1",
        "10.0.0.0/8/8",
        "[::1",
        "[::1]x",
        "[::1]9000",
        "::1/129",
        "1.2.3",
        "::ffff:10.0.0.0/8",
        "*:80",
        "https://10.0.0.1",
    ] {
        assert!(text.parse::<EgressRule>().is_err(), "{text:?} is no rule");
    }
    assert_eq!("10.0.0.1:x".parse::<EgressRule>(), Err(EgressRuleError::Port("x".to_owned())));
}

/// Hosts that are a forbidden address in some spelling.
#[rustfmt::skip]
const FORBIDDEN_LITERALS: &[&str] = &[
    // URL.1: plain
    "127.0.0.1", "10.0.0.1", "172.16.0.1", "172.31.255.254", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "0.0.0.0", "192.0.0.1", "198.18.0.1", "198.19.255.254", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    // URL.2: decimal, hexadecimal, octal, short, mixed
    "2130706433", "017700000001", "0x7f000001", "0X7F000001", "0x7f.1", "0x7f.0.0.1", "0x7f.0x0.0x0.0x1",
    "0177.0.0.1", "0177.0.0.01", "00177.0.0.1", "127.1", "127.0.1", "127.0.0.1.", "127.1.", "0", "0.",
    "0x0", "00", "0x", "1", "0xa9fea9fe", "2852039166", "0251.0376.0251.0376", "169.16689662",
    "0xa9.254.43518", "3232235777", "0xc0.0xa8.257", "167772161", "012.1", "10.1", "192.168.257",
    "172.1048577",
    // percent-encoded
    "%31%32%37.0.0.1", "127%2e0%2e0%2e1", "%31%32%37%2E%30%2E%30%2E%31", "127.0.0.%31", "0x7%66.1",
    "%32130706433",
    // full-width digits and dots, circled digits, mathematical digits
    "１２７.０.０.１", "１２７．０．０．１", "127。0。0。1", "127｡0｡0｡1", "①②⑦.0.0.1", "１０.0.0.1", "𝟏𝟐𝟕.𝟎.𝟎.𝟏", "²130706433",
    "０ｘ７ｆ.1", "%EF%BC%91%EF%BC%92%EF%BC%97.0.0.1",
    // invisible characters that mapping removes
    "127.0.0.1\u{ad}", "12\u{200b}7.0.0.1", "127.0\u{2060}.0.1",
    // URL.3: IPv6
    "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[0000:0000:0000:0000:0000:0000:0000:0001]", "[::0001]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::FFFF:7F00:0001]", "[0:0:0:0:0:ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[::127.0.0.1]",
    "[::7f00:1]", "[::ffff:0:7f00:1]", "[fc00::1]", "[fd00:ec2::254]", "[fe80::1]", "[fec0::1]",
    "[ff02::1]", "[64:ff9b::7f00:1]", "[64:ff9b::127.0.0.1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]",
    "[2002:808:808::1]", "[2001:db8::1]", "[2001:0:7f00:1::f7f7:f7f7]", "[2001:0:808:808::f7f7:f7f7]", "[100::1]", "[3fff::1]", "[2001:2::1]", "[2001:20::1]",
    "[5f00::1]",
];

#[test]
fn url_1_2_3_literals_of_forbidden_addresses_are_refused_in_every_spelling() {
    for host in FORBIDDEN_LITERALS {
        for url in
            [format!("https://{host}/hook"), format!("http://{host}:8080/hook"), format!("HTTPS://{host}")]
        {
            let refused = check_url(&url, &with_http()).expect_err(&url);
            assert!(matches!(refused, UrlRejection::Blocked), "{url}: {refused}");
        }
    }
}

#[test]
fn hosts_that_no_parser_should_accept_are_refused() {
    for host in [
        "[fe80::1%25eth0]",
        "[fe80::1%eth0]",
        "[::1",
        "::1",
        "[::1]]",
        "[127.0.0.1]",
        "256.256.256.256",
        "127.0.0.256",
        "1.2.3.4.5",
        "0x7f.0.0.0x100",
        "4294967296",
        "127..1",
        "127.0.0.1..",
        "a..b.com",
        ".example.com",
        "exa mple.com",
        "example.com%00",
        "example.com%0d%0a",
        "exa%20mple.com",
        "exa%2fmple.com",
        "example.com%23",
        "*.example.com",
        "ex\u{0}ample.com",
        "example.com\u{7f}",
        "",
        ":443",
        "@",
        "%",
        "xn--a",
        "{{host}}",
        "a$b.com",
        "a'b.com",
    ] {
        let url = format!("https://{host}/hook");
        assert!(check_url(&url, &with_http()).is_err(), "{url}");
    }
}

#[test]
fn url_10_names_without_a_public_meaning_are_refused() {
    for host in [
        "localhost",
        "LOCALHOST",
        "LocalHost",
        "localhost.",
        "x.localhost",
        "a.b.localhost.",
        "localhost.localdomain",
        "ｌｏｃａｌｈｏｓｔ",
        "loc%61lhost",
        "metadata.google.internal",
        "metadata.google.internal.",
        "METADATA.GOOGLE.INTERNAL",
        "kubernetes.default.svc",
        "kubernetes.default.svc.",
        "kubernetes.default.svc.cluster.local",
        "printer.local",
        "router.lan",
        "nas.home.arpa",
        "wiki.corp",
        "box.home",
        "kubernetes",
        "db",
        "metadata",
        "host.docker.internal",
        "internal",
        "local",
        "a",
    ] {
        for url in [format!("https://{host}/hook"), format!("http://{host}:8080/hook")] {
            assert_eq!(check_url(&url, &with_http()), Err(UrlRejection::InternalName), "{url}");
        }
    }
}

#[test]
fn url_7_only_https_and_http_where_allowed() {
    for url in [
        "file:///etc/passwd",
        "ftp://example.com/",
        "gopher://example.com/",
        "dict://example.com:2628/",
        "ldap://example.com/",
        "data:text/plain,x",
        "javascript:alert(1)",
        "ws://example.com/",
        "wss://example.com/",
        "unix:///run/docker.sock",
        "HTTP+UNIX://example.com/",
        "//example.com/",
        "example.com",
        "example.com/hook",
        "/hook",
        "",
        "https:",
        "https:/",
        "https://",
        "https:example.com",
        "https:/example.com",
        "https:///example.com",
        "https:////example.com",
        "httpss://example.com/",
        "view-source:https://example.com/",
        "blob:https://example.com/",
        "jar:https://example.com/",
    ] {
        let refused = check_url(url, &with_http()).expect_err(url);
        assert!(matches!(refused, UrlRejection::Scheme(_)), "{url}: {refused}");
    }
    assert_eq!(check_url("http://example.com/", &https_only()), Err(UrlRejection::Scheme("https://")));
    assert!(check_url("http://example.com/", &with_http()).is_ok());
}

#[test]
fn url_8_ambiguous_urls_and_credentials_are_refused() {
    for (url, refused) in [
        ("https://user:pass@example.com/", UrlRejection::Credentials),
        ("https://user@example.com/", UrlRejection::Credentials),
        ("https://:pass@example.com/", UrlRejection::Credentials),
        ("https://@example.com/", UrlRejection::Credentials),
        ("https://:@example.com/", UrlRejection::Credentials),
        ("https://good.com@evil.com/", UrlRejection::Credentials),
        ("https://good.com%40evil.com@127.0.0.1/", UrlRejection::Credentials),
        ("https://example.com/#x", UrlRejection::Fragment),
        ("https://example.com/#", UrlRejection::Fragment),
        ("https://example.com#@evil.com/", UrlRejection::Fragment),
        ("http://good.com\\@evil.com/", UrlRejection::Ambiguous("a backslash")),
        ("https:\\\\example.com/", UrlRejection::Ambiguous("a backslash")),
        ("https://example.com/a\tb", UrlRejection::Ambiguous("a tab")),
        ("https://exa\tmple.com/", UrlRejection::Ambiguous("a tab")),
        ("https://exa\nmple.com/", UrlRejection::Ambiguous("a line break")),
        ("https://example.com/\r\nX: y", UrlRejection::Ambiguous("a line break")),
        ("https://example.com/a b", UrlRejection::Ambiguous("a space")),
        (" https://example.com/", UrlRejection::Ambiguous("a space")),
        ("https://example.com/ ", UrlRejection::Ambiguous("a space")),
        ("https://example.com/\u{a0}", UrlRejection::Ambiguous("a space")),
        ("https://example.com/\u{1}", UrlRejection::Ambiguous("a control character")),
        ("https://example.com/\u{0}", UrlRejection::Ambiguous("a control character")),
    ] {
        assert_eq!(check_url(url, &with_http()), Err(refused), "{url:?}");
    }
    let long = format!("https://example.com/{}", "a".repeat(100_000));
    assert_eq!(check_url(&long, &with_http()), Err(UrlRejection::TooLong));
}

#[test]
fn url_9_ports_out_of_range_or_closed_are_refused() {
    for port in ["0", "00", "65536", "99999999999", "-1", "+443", "0x1bb", "", "４４３", "4a", "%34%34%33"]
    {
        let url = format!("https://example.com:{port}/");
        assert_eq!(check_url(&url, &with_http()), Err(UrlRejection::Port), "{url}");
    }
    assert!(check_url("https://example.com:80 /", &with_http()).is_err());
    for port in [22, 25, 6379, 1, 1023, 5432, 27017] {
        let url = format!("https://example.com:{port}/");
        assert_eq!(check_url(&url, &with_http()), Err(UrlRejection::PortNotOpen(port)), "{url}");
        let url = format!("https://8.8.8.8:{port}/");
        assert_eq!(check_url(&url, &with_http()), Err(UrlRejection::PortNotOpen(port)), "{url}");
    }
}

#[test]
fn what_receivers_really_use_is_accepted() {
    for (url, parsed) in [
        ("https://example.com", "https://example.com/"),
        ("https://example.com:443/hook", "https://example.com/hook"),
        ("HTTPS://Example.COM/Hook?a=1&b={x}", "https://example.com/Hook?a=1&b={x}"),
        ("https://hooks.example.co.uk:8443/a/b", "https://hooks.example.co.uk:8443/a/b"),
        ("https://example.com./hook", "https://example.com./hook"),
        ("https://my_host.example.com/", "https://my_host.example.com/"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        ("https://[2606:4700:4700::1111]:8443/", "https://[2606:4700:4700::1111]:8443/"),
        ("http://example.com:8080/?q=%20", "http://example.com:8080/?q=%20"),
        ("https://localhost.example.com/", "https://localhost.example.com/"),
        ("https://mylocalhost.com/", "https://mylocalhost.com/"),
        ("https://127.0.0.1.nip.io/", "https://127.0.0.1.nip.io/"), // judged at dial, like every name
    ] {
        assert_eq!(check_url(url, &with_http()).map(String::from), Ok(parsed.to_owned()), "{url}");
    }
}

#[test]
fn a_rule_makes_its_literal_and_the_names_that_could_mean_it_acceptable() {
    let loopback = allowing(&["127.0.0.1:9000"]);
    for url in ["http://127.0.0.1:9000/", "http://localhost:9000/", "http://[::ffff:7f00:1]:9000/"] {
        assert!(check_url(url, &loopback).is_ok(), "{url}");
    }
    for url in [
        "http://127.0.0.1:9001/",
        "http://2130706433:9000/", // not written plainly
        "http://127.0.0.2:9000/",
        "http://localhost:9001/",
        "http://[::1]:9000/",
        "http://db:9000/",
        "http://metadata.google.internal:9000/",
        "http://kubernetes.default.svc:9000/",
    ] {
        assert!(check_url(url, &loopback).is_err(), "{url}");
    }
    let cluster = allowing(&["10.0.0.0/8"]);
    assert!(check_url("http://receiver:9000/", &cluster).is_ok());
    assert!(check_url("http://receiver.default.svc/", &cluster).is_ok());
    assert!(check_url("http://localhost:9000/", &cluster).is_err());
    assert!(check_url("http://localhost:9000/", &allowing(&["0.0.0.0/0"])).is_ok());
    assert!(check_url("http://localhost:22/", &allowing(&["127.0.0.1"])).is_ok());
}

#[test]
fn refusals_are_one_sentence_and_name_no_address() {
    let refused = check_url("https://2130706433/", &https_only()).unwrap_err();
    assert_eq!(refused.to_string(), "the URL's address is blocked by egress policy");
    assert!(!check_url("https://[::ffff:a00:1]/", &https_only()).unwrap_err().to_string().contains("10."));
}

/// URL.1, SEC.4: what two readers could take for two hosts, or an eye for another text.
#[test]
fn urls_that_read_in_two_ways_are_refused() {
    let policy = https_only();
    for url in [
        "https://0127.0.0.1/",
        "https://08.8.8.8/",
        "https://134744072/",
        "https://8.8.2056/",
        "https://0x8.8.8.8/",
        "https://example.com?@127.0.0.1/",
        "https://example.com#@127.0.0.1/",
        "https://example.com/a\u{202e}b",
        "https://example.com/a\u{feff}b",
        "https://exam\u{ad}ple.com/",
    ] {
        assert!(check_url(url, &policy).is_err(), "{url}");
    }
    for url in [
        "https://8.8.8.8/",
        "https://8.8.8.8:8443/x",
        "https://example.com/@user",
        "https://example.com/?a=b@c",
    ] {
        assert!(check_url(url, &policy).is_ok(), "{url}");
    }
}

/// URL.11: the engine's own public address, and what an operator takes out of the public ones, in every wrapping.
#[test]
fn denied_addresses_are_not_dialled() {
    let rules = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let policy = EgressPolicy {
        allow: rules(&["8.8.4.4:9000", "1.1.1.1", "10.0.0.0/8"]),
        deny: rules(&["1.1.1.1", "9.9.9.0/24:443", "10.0.0.7"]),
        own: rules(&["8.8.4.4"]),
        ..EgressPolicy::default()
    };
    for blocked in [
        "1.1.1.1:443",
        "9.9.9.9:443",
        "10.0.0.7:80",
        "8.8.4.4:443",
        "[::ffff:8.8.4.4]:443",
        "[64:ff9b::8.8.4.4]:443",
        "[2002:808:404::1]:443",
        "[2001:0:808:808::f7f7:fbfb]:443",
    ] {
        assert_eq!(policy.check_address(address(blocked)), Err(Blocked), "{blocked}");
    }
    for open in ["9.9.9.9:80", "8.8.4.4:9000", "10.0.0.8:80", "8.8.8.8:443"] {
        assert_eq!(policy.check_address(address(open)), Ok(()), "{open}");
    }
    assert_eq!(policy.check_host(address("8.8.4.4:25")), Err(Blocked));
    assert!(check_url("https://8.8.4.4/", &policy).is_err());
}

/// URL.11: what is allowed for receivers on this machine does not open the engine's own API beside them.
#[test]
fn url_11_the_engines_own_port_is_opened_by_its_very_name_only() {
    let policy = |listens_at: &str, rules: &[&str]| EgressPolicy {
        own_api: Some(address(listens_at)),
        ..allowing(rules)
    };
    let wide = ["127.0.0.0/8", "::1", "0.0.0.0/0", "::/0"];
    for (listens_at, api) in [
        (
            "127.0.0.1:8080",
            &["127.0.0.1", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "[64:ff9b::127.0.0.1]"][..],
        ),
        ("10.0.0.5:8080", &["10.0.0.5", "[::ffff:10.0.0.5]", "[64:ff9b::10.0.0.5]"]),
        ("[::1]:8080", &["[::1]", "[::]"]),
        ("0.0.0.0:8080", &["127.0.0.1", "127.0.0.2", "0.0.0.0", "[::ffff:127.0.0.1]"]),
        ("[::]:8080", &["[::1]", "127.0.0.1", "[::]"]),
    ] {
        let allowed = policy(listens_at, &wide);
        for host in api {
            let at = |port| address(&format!("{host}:{port}"));
            assert_eq!(allowed.check_address(at(8080)), Err(Blocked), "{host} of {listens_at}");
            assert_eq!(allowed.check_address(at(8081)), Ok(()), "{host} beside {listens_at}");
            assert!(check_url(&format!("http://{host}:8080/"), &allowed).is_err(), "{host} of {listens_at}");
        }
    }
    let on_one = policy("127.0.0.1:8080", &wide);
    assert_eq!(on_one.check_address(address("127.0.0.2:8080")), Ok(()), "nobody's port");
    let port_of_a_net = policy("127.0.0.1:8080", &["127.0.0.0/8:8080"]);
    assert_eq!(port_of_a_net.check_address(address("127.0.0.1:8080")), Err(Blocked));
    for name in ["localhost", "api.localhost"] {
        let url = |port| format!("http://{name}:{port}/");
        assert!(check_url(&url(8080), &policy("127.0.0.1:8080", &["127.0.0.0/8"])).is_err(), "{name}");
        assert!(check_url(&url(8081), &policy("127.0.0.1:8080", &["127.0.0.0/8"])).is_ok(), "{name}");
        assert!(check_url(&url(8080), &policy("127.0.0.1:8080", &["127.0.0.1:8080"])).is_ok(), "{name}");
    }
    let named = policy("0.0.0.0:8080", &["127.0.0.1:8080", "10.0.0.0/8"]);
    assert_eq!(named.check_address(address("127.0.0.1:8080")), Ok(()), "it is named");
    assert_eq!(named.check_address(address("127.0.0.2:8080")), Err(Blocked));
    // Which addresses are this machine's is asked at dial.
    assert!(named.opens_home(address("10.0.0.5:8081")) && !named.opens_home(address("10.0.0.5:8080")));
}

/// URL.9: the operator's set takes the place of the built-in one, at write and at dial.
#[test]
fn url_9_an_operators_ports_are_the_only_ones() {
    let policy = EgressPolicy { ports: vec![443..=443, 8443..=8450], ..https_only() };
    for (port, open) in [(443, true), (8443, true), (8450, true), (8451, false), (80, false), (9000, false)] {
        let named = check_url(&format!("https://example.com:{port}/"), &policy);
        assert_eq!(named.is_ok(), open, "{port}: {named:?}");
        let literal = check_url(&format!("https://8.8.8.8:{port}/"), &policy);
        assert_eq!(literal.is_ok(), open, "{port}: {literal:?}");
        assert_eq!(policy.check_address(SocketAddr::from(([8, 8, 8, 8], port))).is_ok(), open, "{port}");
    }
    let allowed = EgressPolicy { allow: vec!["10.0.0.0/8:9000".parse().unwrap()], ..policy };
    assert!(allowed.check_address("10.0.0.1:9000".parse().unwrap()).is_ok());
}
