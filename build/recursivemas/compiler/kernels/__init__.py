"""The kernels of our own models, one a file, written with TVM's builder of loops and statements.

`docs/kernels.md` says what each one assumes and counts. All of them stay within WebGPU's default limits: 8 storage
buffers, 256 invocations and 16 KiB of workgroup memory.
"""
