"""The benchmarks, a folder per room: `python -m benchmarks.ROOM.NAME` runs one."""
