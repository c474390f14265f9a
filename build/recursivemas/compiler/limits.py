"""What WebGPU promises on every device, and how tables that exceed it are stored in parts.

Source: https://www.w3.org/TR/webgpu/#limits
"""

PROMISED = {
    "maxBufferSize": 256 << 20,
    "maxStorageBufferBindingSize": 128 << 20,
    "maxStorageBuffersPerShaderStage": 8,
    "maxComputeWorkgroupStorageSize": 16 << 10,
    "maxComputeInvocationsPerWorkgroup": 256,
}
"""Limits of a device for which a page asks for none."""

MAX_PART_BYTES = PROMISED["maxStorageBufferBindingSize"]
"""The largest part of a table."""


def rows_of_parts(rows: int, row_bytes: int) -> tuple[int, ...]:
    """The rows of each part of a table: as few parts as possible, of nearly equal size.

    Args:
        rows: Of the table.
        row_bytes: Bytes of a row in the form in which it is stored.

    Returns:
        One number if the whole table fits into a buffer that every device binds.
    """
    parts = -(-rows // (MAX_PART_BYTES // row_bytes))
    most = -(-rows // parts)
    return tuple(min(most, rows - first) for first in range(0, rows, most))
