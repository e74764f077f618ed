//! The README's way from clone to the first verified delivery, run as it is written.

use crate::support::TestServer;

#[test]
fn placeholder_until_the_readme_is_there() {
    let server = TestServer::start();
    assert_eq!(server.api().get("/livez").status, 200);
}
