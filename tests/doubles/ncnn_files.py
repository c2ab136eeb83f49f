"""Small networks in ncnn's text form, with most kinds of layers."""


def text(*layers: str) -> str:
    """A .param file of layers, with the right numbers of layers and tensors."""
    blobs = sum(int(layer.split()[3]) for layer in layers)
    return "\n".join(["7767517", f"{len(layers)} {blobs}", *layers, ""])


IMAGES = text(
    "Input data 0 1 data 0=32 1=32 2=3",
    "Convolution conv 1 1 data a 0=16 1=3 3=2 4=1 5=1 6=432 9=1",
    "Split split 1 2 a b c",
    "ConvolutionDepthWise dw 1 1 b d 0=16 1=3 4=1 5=0 6=144 7=16 9=3 -23310=2,0.000000e+00,6.000000e+00",
    "Pooling squeeze 1 1 c e 0=1 4=1",
    "InnerProduct fc 1 1 e f 0=16 1=1 2=256 9=4",
    "BinaryOp gate 2 1 d f g 0=2",
    "BatchNorm bn 1 1 g h 0=16",
    "Slice half 1 2 h i j -23300=2,-233,-233 1=0",
    "ShuffleChannel mix 1 1 i k 0=2",
    "Concat cat 2 1 k j l 0=0",
    "Pooling pool 1 1 l m 0=0 1=3 2=2",
    "Deconvolution up 1 1 m n 0=8 1=2 3=2 5=1 6=512",
    "Interp resize 1 1 n o 0=1 1=2.000000e+00 2=2.000000e+00",
    "Padding pad 1 1 o p 0=1 1=1 2=1 3=1",
    "Permute turn 1 1 p q 0=3",
    "Reshape rows 1 1 q r 0=8 1=-1",
    "Crop part 1 1 r s -23309=1,0 -23310=1,100 -23311=1,0",
    "Reduction mean 1 1 s t 0=3 1=0 -23303=1,0 4=0",
    "Softmax prob 1 1 t output 0=0",
)
"""A convolutional network of one image."""

TOKENS = text(
    "Input ids 0 1 ids 0=6",
    "Embed embed 1 1 ids a 0=32 1=100 3=3200",
    "MemoryData where 0 1 where 0=32 1=6",
    "BinaryOp place 2 1 a where b 0=0",
    "Split split 1 2 b c d",
    "LayerNorm norm 1 1 c e 0=32",
    "MultiHeadAttention attention 1 1 e f 0=32 1=4 2=1024",
    "BinaryOp skip 2 1 d f g 0=0",
    "Gemm wide 1 1 g h 3=1 5=1 6=1 8=64 9=32 10=4",
    "GELU gelu 1 1 h i",
    "LSTM steps 1 1 i j 0=16 1=4096",
    "InnerProduct fc 1 1 j output 0=10 1=1 2=160",
)
"""A network of six tokens."""
