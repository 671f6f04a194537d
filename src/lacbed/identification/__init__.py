"""Which crystal of a catalogue made a pattern."""
