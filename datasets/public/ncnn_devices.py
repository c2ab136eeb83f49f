"""The machines of ncnn's benchmark table, by the headings of their sections: name, family and kind.

A processor's family is its fastest kind of core, which the cores' vendors name (Cortex-A53, Zen 2, ...); a GPU's is its
architecture.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PROCESSORS = """
jetson_agx_orin        cortex-a78       embedded-cpu  NVIDIA Jetson AGX Orin
threadripper_3970x     amd-zen2         desktop-cpu   AMD Ryzen Threadripper 3970X
quadro_rtx_8000_host   unknown          desktop-cpu   NVIDIA Quadro RTX 8000
rtx_3090_host          unknown          desktop-cpu   NVIDIA RTX3090
ryzen_v1605b           amd-zen          embedded-cpu  AMD Ryzen Embedded V1605B
snapdragon_855_plus    cortex-a76       mobile-cpu    Qualcomm SM8150-AC Snapdragon 855+
snapdragon_675         cortex-a76       mobile-cpu    Qualcomm MSM6150 Snapdragon 675
kirin_970              cortex-a73       mobile-cpu    Kirin 970
snapdragon_835         cortex-a73       mobile-cpu    Qualcomm MSM8998 Snapdragon 835
snapdragon_765g        cortex-a76       mobile-cpu    Qualcomm SDM765G Snapdragon 765G
snapdragon_660         cortex-a73       mobile-cpu    Qualcomm SDM660 Snapdragon 660
snapdragon_821         qualcomm-kryo    mobile-cpu    Qualcomm MSM8996 Pro Snapdragon 821
snapdragon_810         cortex-a57       mobile-cpu    Qualcomm MSM8994 Snapdragon 810
snapdragon_410         cortex-a53       mobile-cpu    Qualcomm MSM8916 Snapdragon 410
snapdragon_888         cortex-x1        mobile-cpu    Qualcomm Snapdragon 888
snapdragon_x_elite     qualcomm-oryon   desktop-cpu   Qualcomm Snapdragon X Elite
raspberry_pi_3b_plus   cortex-a53       embedded-cpu  Raspberry Pi 3 Model B+
raspberry_pi_4b        cortex-a72       embedded-cpu  Raspberry Pi 4 Model B
raspberry_pi_5         cortex-a76       embedded-cpu  Raspberry Pi 5 Broadcom BCM2712, Cortex-A76
raspberry_pi_5_gpu     cortex-a76       embedded-cpu  Raspberry Pi 5 Broadcom BCM2712, VideoCore VII
raspberry_pi_5_fast    cortex-a76       embedded-cpu  Raspberry Pi 5 Broadcom BCM2712 Overclock
raspberry_pi_zero_2w   cortex-a53       embedded-cpu  Raspberry Pi Zero 2 W
banana_pi_m2_zero      cortex-a7        embedded-cpu  Banana Pi M2 Zero 2
radxa_orion_o6         cortex-a720      embedded-cpu  Radxa Orion O6
radxa_zero_3w          cortex-a55       embedded-cpu  Radxa Zero 3W
avaota_aim_t527        cortex-a55       embedded-cpu  Avaota Aim T527
khadas_vim3            cortex-a73       embedded-cpu  Khadas VIM3
rk3588                 cortex-a76       embedded-cpu  Rockchip RK3588 (Cortex-A76
station_m3             cortex-a76       embedded-cpu  Station-M3/
station_p2             cortex-a55       embedded-cpu  Station P2
rock_3a                cortex-a55       embedded-cpu  Rock3A
station_m2             cortex-a55       embedded-cpu  Station-M2/
rk3399                 cortex-a72       embedded-cpu  Rockchip RK3399
myir_remipi            cortex-a55       embedded-cpu  MYIR RemiPi
orangepi_zero_2        cortex-a53       embedded-cpu  OrangePi Zero 2
orangepi_4_lts         cortex-a72       embedded-cpu  OrangePi4 LTS
orangepi_cm4           cortex-a55       embedded-cpu  OrangePicm4
orangepi_5             cortex-a76       embedded-cpu  OrangePi5, Rockchip RK3588s
orangepi_5_plus        cortex-a76       embedded-cpu  OrangePi5 Plus
rdk_x3                 cortex-a53       embedded-cpu  RDK X3 Module
nanopi_r2s             cortex-a53       embedded-cpu  NanoPi R2S
eaidk_310              cortex-a53       embedded-cpu  EAIDK 310
jetson_orin_nano       cortex-a78       embedded-cpu  NVIDIA Jetson Orin Nano
jetson_nano            cortex-a57       embedded-cpu  NVIDIA Jetson Nano
jetson_tx2_nx          nvidia-denver2   embedded-cpu  NVIDIA Jetson TX2 NX
rk3288                 cortex-a17       embedded-cpu  Rockchip RK3288-CG.W
hi3519v101             cortex-a17       embedded-cpu  HiSilicon Hi3519V101
iphone_5s              apple-cyclone    mobile-cpu    iPhone 5S
imx7_dual              cortex-a7        embedded-cpu  Freescale i.MX7 Dual
z7_lite_7020           cortex-a9        embedded-cpu  Z7-Lite 7020
loongson_2k1000        loongson-gs264   embedded-cpu  Loongson 2K1000 (
loongson_2k1000la      loongson-la264   embedded-cpu  Loongson 2K1000LA
loongson_2k2000        loongson-la364   embedded-cpu  Loongson 2K2000
loongson_3a3000        loongson-gs464   desktop-cpu   Loongson 3A3000
loongson_3a4000        loongson-gs464   desktop-cpu   Loongson 3A4000
loongson_3a5000        loongson-la464   desktop-cpu   Loongson 3A5000
loongson_3a6000        loongson-la664   desktop-cpu   Loongson 3A6000
ft_2000_4              phytium-ftc66x   desktop-cpu   Phytium FT-2000/4
ft_2000_plus_64        phytium-ftc66x   server-cpu    Phytium FT-2000+/64
kunpeng_920_2251k      hisilicon-tsv110 server-cpu    HUAWEI KunPeng 920 2251K
kunpeng_920_3211k      hisilicon-tsv110 server-cpu    HUAWEI KunPeng 920 3211K
kunpeng_920_7260       hisilicon-tsv110 server-cpu    HUAWEI Kunpeng 920 7260
atom_x5_z8350          intel-airmont    embedded-cpu  Intel Atom x5-Z8350
celeron_n5105          intel-tremont    embedded-cpu  Intel Celeron N5105
rtx_2060_notebook_host unknown          desktop-cpu   nVIDIA RTX2060 of Notebook
rtx_a3000_notebook_host unknown         desktop-cpu   nVIDIA RTX A3000 of Notebook
rtx_2080_host          unknown          desktop-cpu   nVIDIA RTX2080 of Desktop
jetson_agx_xavier      nvidia-carmel    embedded-cpu  NVIDIA Jetson AGX Xavier
macbook_pro_m1         apple-m1         desktop-cpu   MacBook Pro (13-inch, M1, 2020)
macbook_air_m3         apple-m3         desktop-cpu   MacBook Air (13-inch, M3, 2024)
ingenic_t40xp          ingenic-xburst2  embedded-cpu  Ingenic T40XP
macbook_pro_15_2019    intel-skylake    desktop-cpu   MacBook Pro (15-inch, 2019)
sunway_sw421           sunway-sw4       desktop-cpu   Sunway SW421
sunway_sw831           sunway-sw8       desktop-cpu   Sunway SW831
axera_ax620a           cortex-a7        embedded-cpu  AXERA AX620A
ryzen_5700g            amd-zen3         desktop-cpu   AMD Ryzen 5700g
celeron_m420           intel-yonah      desktop-cpu   Intel Celeron M 420
visionfive2            sifive-u74       embedded-cpu  VisionFive2
th1520                 thead-c910       embedded-cpu  T-Head TH1520
sg2000                 thead-c906       embedded-cpu  CVITEK SG2000
rk3588_quad            cortex-a76       embedded-cpu  Rockchip RK3588 (Quad Core
aws_c5_4xlarge         intel-skylake-sp server-cpu    AWS c5.4xlarge
i7_11800h_guest        intel-tiger-lake desktop-cpu   Hyper-V Linux Guest with GPU-PV enabled (Intel Core i7-11800H
i7_7700k_guest         intel-skylake    desktop-cpu   Hyper-V Linux Guest with GPU-PV enabled (Intel Core i7-7700K
ryzen_5950x            amd-zen3         desktop-cpu   AMD Ryzen 9 5950X
rx_6900_xt_host        unknown          desktop-cpu   AMD Radeon RX 6900 XT
rtx_3060_ti_host       unknown          desktop-cpu   NVIDIA GeForce RTX 3060 Ti
uhd_770_host           unknown          desktop-cpu   Intel(R) UHD Graphics 770
i7_13700k              intel-raptor-lake desktop-cpu  Intel® Core™ i7-13700K
amlogic_s805           cortex-a5        embedded-cpu  Amlogic S805
snapdragon_8_gen2      cortex-x3        mobile-cpu    Qualcomm SM8550-AB Snapdragon 8 Gen 2
dimensity_9300         cortex-x4        mobile-cpu    MediaTek Dimensity 9300
xeon_phi_3120a         intel-knights-corner server-cpu Xeon Phi 3120A
phytiumpi              phytium-ftc66x   embedded-cpu  PhytiumPi
epyc_7742              amd-zen2         server-cpu    AMD EPYC 7742
v100_pcie_host         unknown          server-cpu    NVIDIA Tesla V100-PCIE-32GB
axera_ax630c           cortex-a53       embedded-cpu  AXERA AX630C
muse_pi_pro            spacemit-x60     embedded-cpu  Spacemit MUSE Pi Pro
arduino_uno_q          cortex-a53       embedded-cpu  Arduino UNO Q
azure_d64ps_v6         neoverse-n2      server-cpu    Microsoft Azure Standard D64ps v6
azure_d64s_v6          intel-emerald-rapids server-cpu Microsoft Azure Standard D64s v6
azure_d64as_v7         amd-zen5         server-cpu    Microsoft Azure Standard D64as v7
"""
_GPUS = {
    "direct3d12": "Direct3D12", "nvidia-ampere": "Orin|RTX A?30", "nvidia-turing": "RTX 8000|RTX 20",
    "nvidia-volta": "V100|Xavier", "nvidia-pascal": "Tegra X2|GTX 10", "nvidia-maxwell": "Tegra X1",
    "amd-gcn": "Vega|Radeon Pro", "amd-rdna2": "RX 6900", "adreno-400": r"Adreno \(TM\) 4",
    "adreno-500": r"Adreno \(TM\) 5", "adreno-600": r"Adreno \(TM\) 6", "adreno-700": r"Adreno \(TM\) 7|Adreno X1",
    "mali-midgard": "Mali-T", "mali-bifrost": "Mali-G72$|Mali-G52", "mali-valhall": "Mali-G610",
    "mali-5th-generation": "Mali-G720", "videocore-7": "V3D 7", "apple-g": "Apple", "intel-gen8": "HD Graphics .CHV",
    "powervr-b": "PowerVR B", "intel-gen9": "UHD Graphics 630", "intel-gen11": "JSL", "intel-gen12": "UHD Graphics",
}  # fmt: skip
"""Family of GPUs -> pattern of the names that Vulkan gives them; the first that fits holds."""


@dataclass(frozen=True)
class Machine:
    """A machine of the table.

    Attributes:
        name: short name, unique.
        family: of its processor.
        kind: kind of its processor, one of `datasets.devices.KINDS`.
        heading: beginning of the heading of its section.
    """

    name: str
    family: str
    kind: str
    heading: str


MACHINES = tuple(Machine(*line.split(maxsplit=3)) for line in _PROCESSORS.strip().splitlines())
"""All machines, in the table's order; two sections have the heading of the Loongson 3A4000."""


def stated_numbers(heading: str) -> dict[str, float]:
    """Cores, fast and slow ones together, and the highest clock in GHz of a processor, as far as a heading states them
    (`datasets.devices` describes these numbers)."""
    cpu = _GPU_WORDS.split(heading)[0]
    clocks = [float(number) / (1000 if unit == "M" else 1) for number, unit in _CLOCK.findall(cpu)]
    counts = [int(number) for number in _COUNT.findall(cpu)]
    counts += [1] * len(_ALONE.findall(cpu)) if counts else []
    return ({"cores": sum(counts)} if counts else {}) | ({"clock_ghz": max(clocks)} if clocks else {})


_GPU_WORDS = re.compile("Adreno|Mali|Ampere|Radeon|PowerVR|VideoCore|Immortal|Pascal|Volta|BXM|SM x")
_CLOCK = re.compile(r"(\d+(?:\.\d+)?) ?([GM])[Hh]z")
_COUNT = re.compile(r"(?<=[\s(z])[x*] ?(\d+)(?![-\w])")
_ALONE = re.compile(r"[Hh]z \+")  # a single core of a kind has no count


def gpu_family(name: str) -> str:
    """The architecture of a GPU by its name in Vulkan; the name itself if it is not known."""
    return next((family for family, pattern in _GPUS.items() if re.search(pattern, name)), name)


_INSTRUCTIONS = {
    "armv7": r"cortex-a(5|7|9|17)",
    "armv8.0": r"cortex-a(53|57|72|73)|qualcomm-kryo|nvidia-denver2|apple-cyclone|phytium-.*",
    "armv8.2": r"cortex-.*|neoverse-.*|nvidia-carmel|hisilicon-.*|qualcomm-oryon|apple-m.*",
    "x86": r"amd-.*|intel-.*|zhaoxin-.*",
    "loongson": r"loongson-.*",
    "sunway": r"sunway-.*",
    "risc-v": r"thead-.*|sifive-.*|spacemit-.*",
}


def instructions(family: str) -> str:
    """Instruction set of a family of processors, on which it depends what int8 gains: ARMv8.2 computes in fp16, too.
    'other' for families that are not known."""
    return next((name for name, pattern in _INSTRUCTIONS.items() if re.fullmatch(pattern, family)), "other")
