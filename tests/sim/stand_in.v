// A stand-in for an accelerator, small enough to verilate in a moment. It sums the bytes of a frame
// of 3-channel pixels and gives two values: the sum, plus the weights' sum where there are any, and
// the count of rules its inputs broke. The first byte of a frame chooses how it goes wrong.
//   255: takes no more pixels    254: stops the simulator    253: writes for ever
module \r2b_top.core (
    input clk, input rst,
    input [23:0] tdata, input tvalid, output tready, input tlast,
    output reg [31:0] result, output reg valid, input taken, input [31:0] violations
);
    wire [7:0] trace_stage = valid ? 8'd1 : 8'd0;
    wire trace_busy = (pixel != 0) | valid | endless;
    wire trace_go = ~trace_busy | valid | (tvalid & tready);
    wire trace_done = valid & taken;
    wire trace_fm_en = (tvalid & tready) | endless;
    wire [31:0] trace_fm_addr = pixel;
    wire [23:0] trace_fm_data = tdata;
    wire trace_sm_en = tvalid & tready & tdata[0];
    wire [31:0] trace_sm_addr = pixel;
    wire trace_sm_data = tdata[1];
    reg [15:0] pixel, noise;
    reg dead, endless;
    assign tready = ~rst & noise[0] & ~valid & ~dead & ~endless;
    always @(posedge clk) begin
        noise <= {noise[14:0], noise[15] ^ noise[13] ^ noise[12] ^ noise[10]};
        if (valid & taken) valid <= 0;
        if (tvalid & tready) begin
            pixel <= tlast ? 0 : pixel + 1;
            result <= (pixel == 0 ? 0 : result) + tdata[7:0] + tdata[15:8] + tdata[23:16];
            valid <= tlast & (pixel == 15);
            if (pixel == 0) begin
                dead <= tdata[7:0] == 255;
                endless <= tdata[7:0] == 253;
                if (tdata[7:0] == 254) $fatal;
            end
        end
        if (rst) begin
            noise <= 16'hace1; pixel <= 0; valid <= 0; dead <= 0; endless <= 0;
        end
    end
endmodule

module r2b_top (
    input aclk, input aresetn,
    input [23:0] s_axis_tdata, input s_axis_tvalid, output s_axis_tready, input s_axis_tlast,
`ifdef WEIGHTS
    input [15:0] s_axis_weights_tdata, input s_axis_weights_tvalid,
    output s_axis_weights_tready, input s_axis_weights_tlast,
`endif
    output [31:0] m_axis_tdata, output m_axis_tvalid, input m_axis_tready, output m_axis_tlast,
    input [11:0] s_axil_awaddr, input s_axil_awvalid, output s_axil_awready,
    input [31:0] s_axil_wdata, input [3:0] s_axil_wstrb, input s_axil_wvalid, output s_axil_wready,
    output [1:0] s_axil_bresp, output reg s_axil_bvalid, input s_axil_bready,
    input [11:0] s_axil_araddr, input s_axil_arvalid, output s_axil_arready,
    output reg [31:0] s_axil_rdata, output [1:0] s_axil_rresp, output reg s_axil_rvalid,
    input s_axil_rready,
    output interrupt
);
    wire [31:0] result;
    wire ready, result_valid;
    reg second;
    reg [31:0] violations, weights;
    wire out = m_axis_tvalid & m_axis_tready;
    \r2b_top.core core (
        .clk(aclk), .rst(~aresetn), .tdata(s_axis_tdata), .tvalid(s_axis_tvalid), .tready(ready),
        .tlast(s_axis_tlast), .result(result), .valid(result_valid), .taken(out & second),
        .violations(violations)
    );
    assign s_axis_tready = ready;
    assign m_axis_tvalid = result_valid & have_weights;
    assign m_axis_tdata = second ? violations : result + weights;
    assign m_axis_tlast = second;
    assign interrupt = 0;

    // Rules: a valid stays, with its data, until the transfer.
    reg waits, waits_last;
    reg [23:0] waits_data;
    wire broken = waits & (~s_axis_tvalid | s_axis_tdata != waits_data | s_axis_tlast != waits_last);
    always @(posedge aclk) begin
        waits <= aresetn & s_axis_tvalid & ~s_axis_tready;
        waits_data <= s_axis_tdata;
        waits_last <= s_axis_tlast;
        if (out) second <= ~second;
        if (~aresetn) second <= 0;
        violations <= aresetn ? violations + broken : 0;
    end

`ifdef WEIGHTS
    reg have_weights;
    assign s_axis_weights_tready = aresetn & ~have_weights;
    always @(posedge aclk) begin
        if (s_axis_weights_tvalid & s_axis_weights_tready) begin
            weights <= weights + s_axis_weights_tdata;
            have_weights <= s_axis_weights_tlast;
        end
        if (~aresetn | (out & second)) begin weights <= 0; have_weights <= 0; end
    end
`else
    wire have_weights = 1;
    always @(posedge aclk) weights <= 0;
`endif

    // One register, at 8; reading gives what was written.
    reg [31:0] scratch;
    wire write = s_axil_awvalid & s_axil_wvalid & ~s_axil_bvalid;
    wire read = s_axil_arvalid & ~s_axil_rvalid;
    assign s_axil_awready = write, s_axil_wready = write, s_axil_arready = read;
    assign s_axil_bresp = 0, s_axil_rresp = s_axil_rdata == 0 ? 2 : 0;
    always @(posedge aclk) begin
        if (write) begin
            s_axil_bvalid <= 1;
            if (s_axil_awaddr == 8) scratch <= s_axil_wdata;
        end else if (s_axil_bready) s_axil_bvalid <= 0;
        if (read) begin
            s_axil_rvalid <= 1;
            s_axil_rdata <= s_axil_araddr == 8 ? scratch : 0;
        end else if (s_axil_rready) s_axil_rvalid <= 0;
        if (~aresetn) begin s_axil_bvalid <= 0; s_axil_rvalid <= 0; scratch <= 0; end
    end
endmodule
