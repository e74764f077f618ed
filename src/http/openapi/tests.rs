use super::*;
use crate::http::table;
use std::{collections::BTreeSet, fs, path::Path};

fn built() -> (Vec<Operation>, Value) {
    let profiles = Profiles::builtin();
    (operations::all(), document(table(&profiles).listed(), &profiles))
}

/// A route that nobody described would be missing from the document; a row without a route describes nothing.
#[test]
fn every_route_is_an_operation() {
    let (operations, profiles) = (operations::all(), Profiles::builtin());
    let routes = table(&profiles);
    let undescribed: Vec<_> = routes
        .listed()
        .iter()
        .filter(|route| find(&operations, route).is_none())
        .map(|route| format!("{} {}", route.method, route.path))
        .collect();
    let hidden: &[&str] = if cfg!(feature = "chaos") { &["POST /api/actors/{id}/panic"] } else { &[] };
    assert_eq!(undescribed, hidden);
    let described: BTreeSet<_> =
        routes.listed().iter().filter_map(|route| find(&operations, route)).map(|found| found.call).collect();
    assert_eq!(operations.iter().map(|row| row.call).collect::<BTreeSet<_>>(), described);
}

/// What the handler's types say of a body, and what the table says, is the same.
#[test]
fn bodies_are_described_where_they_are_read() {
    let (operations, profiles) = (operations::all(), Profiles::builtin());
    for route in table(&profiles).listed() {
        let Some(operation) = find(&operations, route) else { continue };
        assert_eq!(operation.body.is_some(), route.parts.body.is_some(), "{}", operation.call);
        let mut schemas = Schemas::default();
        let usual = (route.data)(&mut schemas).is_some();
        assert_eq!(usual, operation.content.is_none(), "{}", operation.call);
    }
}

#[test]
fn ids_of_operations_are_unique() {
    let (_, document) = built();
    let paths = document["paths"].as_object().unwrap();
    let ids: Vec<&str> = paths
        .values()
        .flat_map(|item| item.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
}

/// `LEDGERHOOK_WRITE_SNAPSHOTS=1` writes it anew.
#[test]
fn the_snapshot_is_the_document() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let (_, document) = built();
    let text = serde_json::to_string_pretty(&document).unwrap() + "\n";
    if std::env::var_os("LEDGERHOOK_WRITE_SNAPSHOTS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let snapshot = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        snapshot == text,
        "docs/openapi.json is out of date; write it anew with \
         `LEDGERHOOK_WRITE_SNAPSHOTS=1 cargo test --bins the_snapshot_is_the_document`"
    );
}

/// What programs branch on stands in both, so that neither tells less.
#[test]
fn every_code_and_every_path_is_in_the_documentation() {
    let text = include_str!("../../../docs/api.md");
    let (_, document) = built();
    for (name, response) in document["components"]["responses"].as_object().unwrap() {
        let codes = response["description"].as_str().unwrap_or_default().split('`').skip(3).step_by(2);
        for code in codes.filter(|code| *code != "internal") {
            assert!(text.contains(&format!("`{code}`")), "`{code}` of {name}");
        }
    }
    for path in document["paths"].as_object().unwrap().keys().filter(|path| path.contains("/logs/")) {
        assert!(text.contains(path.as_str()), "{path}");
    }
    for path in ["/api/events/{id}", "/api/deliveries/{id}", "/api/admin/webhooks/stats"] {
        assert!(text.contains(&format!("`GET {path}`")), "{path}");
    }
}

/// Nothing is fetched from another host, and nothing runs but what the policy names.
#[test]
fn the_page_needs_no_other_host() {
    for foreign in ["http:", "https:", "//cdn", "@import", "url(", " src=", "onclick", "innerHTML", "eval("] {
        assert!(!PAGE.contains(foreign), "{foreign}");
    }
    assert_eq!((PAGE.matches("<script").count(), PAGE.matches("<style").count()), (1, 1));
    let script = PAGE.split_once("<script>").unwrap().1.split_once("</script>").unwrap().0;
    let hash = STANDARD.encode(Sha256::digest(script));
    let policy = page_policy();
    assert!(
        policy.contains(&format!("script-src 'sha256-{hash}'")) && !policy.contains("unsafe"),
        "{policy}"
    );
    assert!(!script.contains("style="), "a style of an element would be refused");
}
