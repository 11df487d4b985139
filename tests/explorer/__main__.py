"""Live through one episode, or through several from this seed on, and print what was found."""

import sys

from .episode import KINDS, explore, told_in_words

first, count = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
kind = next((each for each in KINDS if each in sys.argv[3:]), KINDS[0])
found, longest = 0, []
for seed in range(first, first + count):
    told = explore(seed, kind)
    longest.append((told.rested_after, seed))
    if told.violation or count == 1:
        found += bool(told.violation)
        print(told_in_words(told), flush=True)
rests = ", ".join(f"{after} (seed {seed})" for after, seed in sorted(longest)[-3:])
print(f"episodes {count}, violations {found}, longest rests {rests}")
sys.exit(bool(found))
