//! Vector instructions that the selector uses, with their encoding for each instruction set.
//!
//! One row per instruction: name, operand kinds (the result first), AVX-512 code, AVX2 code. A row without a code for one
//! instruction set (`INVALID`) is never selected there; the assembler refuses it.

use crate::isa::Isa;
use iced_x86::Code;

/// Kind of an instruction's operand. `F`, `H`, `Q`: a vector register of full width, half or quarter of it; `K`: a
/// mask register. With `M`, the operand may also be memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    F,
    H,
    Q,
    K,
    FM,
    HM,
}

macro_rules! instructions {
    ($($name:ident [$($kind:ident)*] $wide:ident, $narrow:ident;)*) => {
        /// A vector instruction.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum X { $($name),* }

        impl X {
            pub fn kinds(self) -> &'static [Kind] {
                match self { $(X::$name => &[$(Kind::$kind),*]),* }
            }
            pub fn code(self, isa: Isa) -> Code {
                match (self, isa) { $((X::$name, Isa::Avx512) => Code::$wide, (X::$name, _) => Code::$narrow),* }
            }
        }
    };
}

instructions! {
    AddPs [F F FM] EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er, VEX_Vaddps_ymm_ymm_ymmm256;
    AddPd [F F FM] EVEX_Vaddpd_zmm_k1z_zmm_zmmm512b64_er, VEX_Vaddpd_ymm_ymm_ymmm256;
    SubPs [F F FM] EVEX_Vsubps_zmm_k1z_zmm_zmmm512b32_er, VEX_Vsubps_ymm_ymm_ymmm256;
    SubPd [F F FM] EVEX_Vsubpd_zmm_k1z_zmm_zmmm512b64_er, VEX_Vsubpd_ymm_ymm_ymmm256;
    MulPs [F F FM] EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er, VEX_Vmulps_ymm_ymm_ymmm256;
    MulPd [F F FM] EVEX_Vmulpd_zmm_k1z_zmm_zmmm512b64_er, VEX_Vmulpd_ymm_ymm_ymmm256;
    DivPs [F F FM] EVEX_Vdivps_zmm_k1z_zmm_zmmm512b32_er, VEX_Vdivps_ymm_ymm_ymmm256;
    DivPd [F F FM] EVEX_Vdivpd_zmm_k1z_zmm_zmmm512b64_er, VEX_Vdivpd_ymm_ymm_ymmm256;
    MinPs [F F FM] EVEX_Vminps_zmm_k1z_zmm_zmmm512b32_sae, VEX_Vminps_ymm_ymm_ymmm256;
    MinPd [F F FM] EVEX_Vminpd_zmm_k1z_zmm_zmmm512b64_sae, VEX_Vminpd_ymm_ymm_ymmm256;
    MaxPs [F F FM] EVEX_Vmaxps_zmm_k1z_zmm_zmmm512b32_sae, VEX_Vmaxps_ymm_ymm_ymmm256;
    MaxPd [F F FM] EVEX_Vmaxpd_zmm_k1z_zmm_zmmm512b64_sae, VEX_Vmaxpd_ymm_ymm_ymmm256;
    SqrtPs [F FM] EVEX_Vsqrtps_zmm_k1z_zmmm512b32_er, VEX_Vsqrtps_ymm_ymmm256;
    SqrtPd [F FM] EVEX_Vsqrtpd_zmm_k1z_zmmm512b64_er, VEX_Vsqrtpd_ymm_ymmm256;
    RoundPs [F FM] EVEX_Vrndscaleps_zmm_k1z_zmmm512b32_imm8_sae, VEX_Vroundps_ymm_ymmm256_imm8;
    RoundPd [F FM] EVEX_Vrndscalepd_zmm_k1z_zmmm512b64_imm8_sae, VEX_Vroundpd_ymm_ymmm256_imm8;

    And [F F FM] EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32, VEX_Vpand_ymm_ymm_ymmm256;
    // !a & b
    AndNot [F F FM] EVEX_Vpandnd_zmm_k1z_zmm_zmmm512b32, VEX_Vpandn_ymm_ymm_ymmm256;
    Or [F F FM] EVEX_Vpord_zmm_k1z_zmm_zmmm512b32, VEX_Vpor_ymm_ymm_ymmm256;
    Xor [F F FM] EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32, VEX_Vpxor_ymm_ymm_ymmm256;

    AddD [F F FM] EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32, VEX_Vpaddd_ymm_ymm_ymmm256;
    AddQ [F F FM] EVEX_Vpaddq_zmm_k1z_zmm_zmmm512b64, VEX_Vpaddq_ymm_ymm_ymmm256;
    SubD [F F FM] EVEX_Vpsubd_zmm_k1z_zmm_zmmm512b32, VEX_Vpsubd_ymm_ymm_ymmm256;
    SubQ [F F FM] EVEX_Vpsubq_zmm_k1z_zmm_zmmm512b64, VEX_Vpsubq_ymm_ymm_ymmm256;
    MulD [F F FM] EVEX_Vpmulld_zmm_k1z_zmm_zmmm512b32, VEX_Vpmulld_ymm_ymm_ymmm256;
    MulQ [F F FM] EVEX_Vpmullq_zmm_k1z_zmm_zmmm512b64, INVALID;
    MulWide [F F FM] EVEX_Vpmuludq_zmm_k1z_zmm_zmmm512b64, VEX_Vpmuludq_ymm_ymm_ymmm256;
    MinSD [F F FM] EVEX_Vpminsd_zmm_k1z_zmm_zmmm512b32, VEX_Vpminsd_ymm_ymm_ymmm256;
    MinUD [F F FM] EVEX_Vpminud_zmm_k1z_zmm_zmmm512b32, VEX_Vpminud_ymm_ymm_ymmm256;
    MaxSD [F F FM] EVEX_Vpmaxsd_zmm_k1z_zmm_zmmm512b32, VEX_Vpmaxsd_ymm_ymm_ymmm256;
    MaxUD [F F FM] EVEX_Vpmaxud_zmm_k1z_zmm_zmmm512b32, VEX_Vpmaxud_ymm_ymm_ymmm256;
    MinSQ [F F FM] EVEX_Vpminsq_zmm_k1z_zmm_zmmm512b64, INVALID;
    MinUQ [F F FM] EVEX_Vpminuq_zmm_k1z_zmm_zmmm512b64, INVALID;
    MaxSQ [F F FM] EVEX_Vpmaxsq_zmm_k1z_zmm_zmmm512b64, INVALID;
    MaxUQ [F F FM] EVEX_Vpmaxuq_zmm_k1z_zmm_zmmm512b64, INVALID;
    AbsD [F FM] EVEX_Vpabsd_zmm_k1z_zmmm512b32, VEX_Vpabsd_ymm_ymmm256;
    AbsQ [F FM] EVEX_Vpabsq_zmm_k1z_zmmm512b64, INVALID;

    // Shifts by a count in each lane, and by an immediate.
    SllvD [F F FM] EVEX_Vpsllvd_zmm_k1z_zmm_zmmm512b32, VEX_Vpsllvd_ymm_ymm_ymmm256;
    SllvQ [F F FM] EVEX_Vpsllvq_zmm_k1z_zmm_zmmm512b64, VEX_Vpsllvq_ymm_ymm_ymmm256;
    SrlvD [F F FM] EVEX_Vpsrlvd_zmm_k1z_zmm_zmmm512b32, VEX_Vpsrlvd_ymm_ymm_ymmm256;
    SrlvQ [F F FM] EVEX_Vpsrlvq_zmm_k1z_zmm_zmmm512b64, VEX_Vpsrlvq_ymm_ymm_ymmm256;
    SravD [F F FM] EVEX_Vpsravd_zmm_k1z_zmm_zmmm512b32, VEX_Vpsravd_ymm_ymm_ymmm256;
    SravQ [F F FM] EVEX_Vpsravq_zmm_k1z_zmm_zmmm512b64, INVALID;
    SllD [F F] EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8, VEX_Vpslld_ymm_ymm_imm8;
    SllQ [F F] EVEX_Vpsllq_zmm_k1z_zmmm512b64_imm8, VEX_Vpsllq_ymm_ymm_imm8;
    SrlD [F F] EVEX_Vpsrld_zmm_k1z_zmmm512b32_imm8, VEX_Vpsrld_ymm_ymm_imm8;
    SrlQ [F F] EVEX_Vpsrlq_zmm_k1z_zmmm512b64_imm8, VEX_Vpsrlq_ymm_ymm_imm8;
    SraD [F F] EVEX_Vpsrad_zmm_k1z_zmmm512b32_imm8, VEX_Vpsrad_ymm_ymm_imm8;

    // Comparisons into mask registers (AVX-512) or lanes of ones (AVX2).
    CmpPsK [K F FM] EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae, INVALID;
    CmpPdK [K F FM] EVEX_Vcmppd_kr_k1_zmm_zmmm512b64_imm8_sae, INVALID;
    CmpSDK [K F FM] EVEX_Vpcmpd_kr_k1_zmm_zmmm512b32_imm8, INVALID;
    CmpUDK [K F FM] EVEX_Vpcmpud_kr_k1_zmm_zmmm512b32_imm8, INVALID;
    CmpSQK [K F FM] EVEX_Vpcmpq_kr_k1_zmm_zmmm512b64_imm8, INVALID;
    CmpUQK [K F FM] EVEX_Vpcmpuq_kr_k1_zmm_zmmm512b64_imm8, INVALID;
    TestDK [K F FM] EVEX_Vptestmd_kr_k1_zmm_zmmm512b32, INVALID;
    CmpPs [F F FM] INVALID, VEX_Vcmpps_ymm_ymm_ymmm256_imm8;
    CmpPd [F F FM] INVALID, VEX_Vcmppd_ymm_ymm_ymmm256_imm8;
    EqD [F F FM] INVALID, VEX_Vpcmpeqd_ymm_ymm_ymmm256;
    EqQ [F F FM] INVALID, VEX_Vpcmpeqq_ymm_ymm_ymmm256;
    GtD [F F FM] INVALID, VEX_Vpcmpgtd_ymm_ymm_ymmm256;
    GtQ [F F FM] INVALID, VEX_Vpcmpgtq_ymm_ymm_ymmm256;

    KAnd [K K K] VEX_Kandw_kr_kr_kr, INVALID;
    // !a & b
    KAndNot [K K K] VEX_Kandnw_kr_kr_kr, INVALID;
    KOr [K K K] VEX_Korw_kr_kr_kr, INVALID;
    KXor [K K K] VEX_Kxorw_kr_kr_kr, INVALID;
    KNot [K K] VEX_Knotw_kr_kr, INVALID;
    // high byte from the first operand, low byte from the second
    KUnpack [K K K] VEX_Kunpckbw_kr_kr_kr, INVALID;
    KShr [K K] VEX_Kshiftrw_kr_kr_imm8, INVALID;

    CvtDqPs [F FM] EVEX_Vcvtdq2ps_zmm_k1z_zmmm512b32_er, VEX_Vcvtdq2ps_ymm_ymmm256;
    CvtUdqPs [F FM] EVEX_Vcvtudq2ps_zmm_k1z_zmmm512b32_er, INVALID;
    CvtPsDq [F FM] EVEX_Vcvttps2dq_zmm_k1z_zmmm512b32_sae, VEX_Vcvttps2dq_ymm_ymmm256;
    CvtDqPd [F HM] EVEX_Vcvtdq2pd_zmm_k1z_ymmm256b32_er, VEX_Vcvtdq2pd_ymm_xmmm128;
    CvtPdPs [H FM] EVEX_Vcvtpd2ps_ymm_k1z_zmmm512b64_er, VEX_Vcvtpd2ps_xmm_ymmm256;
    CvtPsPd [F HM] EVEX_Vcvtps2pd_zmm_k1z_ymmm256b32_sae, VEX_Vcvtps2pd_ymm_xmmm128;
    CvtPdDq [H FM] EVEX_Vcvttpd2dq_ymm_k1z_zmmm512b64_sae, VEX_Vcvttpd2dq_xmm_ymmm256;
    CvtQqPs [H FM] EVEX_Vcvtqq2ps_ymm_k1z_zmmm512b64_er, INVALID;
    CvtUqqPs [H FM] EVEX_Vcvtuqq2ps_ymm_k1z_zmmm512b64_er, INVALID;
    CvtQqPd [F FM] EVEX_Vcvtqq2pd_zmm_k1z_zmmm512b64_er, INVALID;
    CvtUqqPd [F FM] EVEX_Vcvtuqq2pd_zmm_k1z_zmmm512b64_er, INVALID;
    CvtPdQq [F FM] EVEX_Vcvttpd2qq_zmm_k1z_zmmm512b64_sae, INVALID;
    CvtPdUqq [F FM] EVEX_Vcvttpd2uqq_zmm_k1z_zmmm512b64_sae, INVALID;
    CvtPhPs [F HM] EVEX_Vcvtph2ps_zmm_k1z_ymmm256_sae, VEX_Vcvtph2ps_ymm_xmmm128;
    CvtPsPh [H F] EVEX_Vcvtps2ph_ymmm256_k1z_zmm_imm8_sae, VEX_Vcvtps2ph_xmmm128_ymm_imm8;

    SignExtend [F HM] EVEX_Vpmovsxdq_zmm_k1z_ymmm256, VEX_Vpmovsxdq_ymm_xmmm128;
    ZeroExtend [F HM] EVEX_Vpmovzxdq_zmm_k1z_ymmm256, VEX_Vpmovzxdq_ymm_xmmm128;
    WidenWord [F HM] EVEX_Vpmovzxwd_zmm_k1z_ymmm256, VEX_Vpmovzxwd_ymm_xmmm128;
    NarrowQ [H F] EVEX_Vpmovqd_ymmm256_k1z_zmm, INVALID;
    NarrowW [H F] EVEX_Vpmovdw_ymmm256_k1z_zmm, INVALID;
    NarrowB [Q F] EVEX_Vpmovdb_xmmm128_k1z_zmm, INVALID;
    High [H F] EVEX_Vextracti64x4_ymmm256_k1z_zmm_imm8, VEX_Vextracti128_xmmm128_ymm_imm8;
    Join [F F HM] EVEX_Vinserti64x4_zmm_k1z_zmm_ymmm256_imm8, VEX_Vinserti128_ymm_ymm_xmmm128_imm8;
    ShufPs [F F FM] INVALID, VEX_Vshufps_ymm_ymm_ymmm256_imm8;
    PermQ [F FM] INVALID, VEX_Vpermq_ymm_ymmm256_imm8;
    // lanes of the second operand picked by the first
    PermD [F F FM] INVALID, VEX_Vpermd_ymm_ymm_ymmm256;
    ShufB [F F FM] INVALID, VEX_Vpshufb_ymm_ymm_ymmm256;
}
