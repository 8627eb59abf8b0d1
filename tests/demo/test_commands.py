from demo.commands import field_values

SHOWN = """\
+--------+--------------+
| Field  | Value        |
+--------+--------------+
| id     | 42           |
| image  | a|b (17)     |
| status | BUILD        |
+--------+--------------+
"""


def test_a_table_of_one_object_is_read_as_fields() -> None:
    assert field_values(SHOWN) == {"id": "42", "image": "a|b (17)", "status": "BUILD"}


def test_other_output_gives_no_fields() -> None:
    assert field_values("") == {}
    assert field_values("| ID | Name |\n| 42 | x |\n") == {}
    assert field_values("no cloud is named cloud-9 (HTTP 404)\n") == {}
