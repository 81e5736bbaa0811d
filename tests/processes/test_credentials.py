"""Keys that change while nodes run, and the logs of the nodes."""

from regions import KEY, client, wait_until

RELOAD_S = 30  # the files are read every five seconds; the machine may be busy
NEXT = "another-key-for-tests-on-loopback"


def lets_in(node, key):
    with client(node.api, key) as http:
        return http.get("/collections").status_code == 200


def test_a_changed_key_file_counts_without_a_restart(one_region):
    before = [node.pid for node in one_region.nodes]
    assert not any(lets_in(node, NEXT) for node in one_region.nodes)
    (file,) = one_region.folder.rglob("api.key")
    file.write_text(NEXT)
    for node in one_region.nodes:
        wait_until(lambda: lets_in(node, NEXT), RELOAD_S, f"{node.name} does not know the new key")  # noqa: B023
        assert lets_in(node, KEY), "the former key is accepted for ten minutes"
        assert not lets_in(node, "a-key-that-nobody-made")
    # An invalid file removes no key.
    file.write_text("short")
    wait_until(lambda: "stay as they are" in logs(one_region), RELOAD_S, "the fault is not logged")
    assert all(lets_in(node, NEXT) for node in one_region.nodes)
    file.write_text(KEY)
    assert [node.pid for node in one_region.nodes] == before


def logs(local):
    return "".join(path.read_text() for path in local.folder.rglob("*.log"))


def test_what_is_written_to_a_file_has_no_colors(one_region):
    assert "node listens" in logs(one_region)
    assert "\x1b" not in logs(one_region)
