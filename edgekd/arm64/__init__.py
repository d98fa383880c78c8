"""The target ``arm64-emulated``: LiteRT's build for 64-bit Arm, run by qemu's user-mode emulation."""
