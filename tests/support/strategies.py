"""What properties are tried with."""

from datetime import UTC, datetime

from hypothesis import strategies as st

moments = st.datetimes(
    min_value=datetime(1970, 1, 2),  # noqa: DTZ001  (hypothesis adds the time zone)
    max_value=datetime(2199, 12, 30),  # noqa: DTZ001
    timezones=st.timezones() | st.just(UTC),
)
